"""Compile the modules of a wheel and run none of them.

What comes out is a tar for the folder that the wheel is installed into, of files that Python uses for the
same source alone (PEP 552, checked hash-based).
"""

from __future__ import annotations

import compileall
import os
import tarfile
import zipfile
from py_compile import PycInvalidationMode
from typing import Any

from buildfarm.sandbox.inside import door

_SITE = "/work/site"
_PACK = "/work/bytecode.tar"


def prepare() -> None:
    """There is nothing to make ready."""


def _is_bytecode_or_folder(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    return member if member.isdir() or member.name.endswith(".pyc") else None


def main(plan: dict[str, Any], _environment: dict[str, str]) -> dict[str, object]:
    """Unpack, compile, hand out."""
    os.mkdir(_SITE)
    with zipfile.ZipFile(os.path.join("/in", plan["wheel"])) as wheel:
        names = [name for name in wheel.namelist() if name.endswith(".py") and ".data/" not in name]
        for name in names:
            wheel.extract(name, _SITE)
    compileall.compile_dir(_SITE, quiet=2, invalidation_mode=PycInvalidationMode.CHECKED_HASH)
    with tarfile.open(_PACK, "w") as pack:
        pack.add(_SITE, ".", filter=_is_bytecode_or_folder)
    door.put_file(_PACK)
    return {}
