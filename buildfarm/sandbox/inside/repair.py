"""Phase repair: give a platform wheel the tag its symbols allow, graft what it needs.

Its wheel is read here, and a recipe may say how: that is why this is a container.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import zipfile
from collections.abc import Iterator
from typing import Any

from buildfarm.sandbox.inside import door, steps

#: The name of musl's libc among the strings of an ELF file.
_MUSL = re.compile(rb"\0libc\.(?:so|musl-\w+\.so\.1)\0")
#: What auditwheel tells a module's libc by: what the file needs, or the name that CPython gives it.
_LIBC = re.compile(rb"\0(?:libc\.so\.6|(?:ld-linux|ld-musl|libc\.musl)-[\w.-]+|ld64\.so\.\d)\0")
_NAMED_FOR_LIBC = re.compile(r"-linux-(?:gnu|musl)\w*\.so$")

#: auditwheel takes longer to be imported than to repair a small wheel: it is loaded while others build.
_AUDITWHEEL = """
import json, os, sys
from auditwheel.main import main
given = sys.stdin.readline()
if not given:
    sys.exit()
sys.argv, variables = json.loads(given)
os.environ.clear()
os.environ.update(variables)
sys.exit(main())
"""
_loaded: list[subprocess.Popen[str]] = []


def prepare() -> None:
    """Load auditwheel by the interpreter that it is installed for."""
    with open(shutil.which("auditwheel") or os.devnull, encoding="utf-8") as script:
        python = script.readline().removeprefix("#!").strip()
    if not os.path.basename(python).startswith("python"):
        raise RuntimeError("the image has no auditwheel")
    environment = steps.clean_environment(steps.NOTHING)
    command = [python, "-B", "-c", _AUDITWHEEL]
    _loaded.append(subprocess.Popen(command, stdin=subprocess.PIPE, text=True, cwd="/work", env=environment))


def _auditwheel(arguments: list[str], environment: dict[str, str]) -> None:
    command = ["auditwheel", *arguments]
    print("$ " + " ".join(command), flush=True)
    process = _loaded.pop()
    process.communicate(json.dumps([command, environment]) + "\n")
    if process.returncode:
        raise steps.FailedError(process.returncode)


def _elf_files(wheel: str) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            data = archive.read(name)
            if data.startswith(b"\x7fELF"):
                yield name, data


def _needs_musl(wheel: str) -> bool:
    return any(_MUSL.search(data) for _name, data in _elf_files(wheel))


def _tells_no_libc(wheel: str) -> bool:
    """Whether a module of the wheel needs nothing of any libc, so that auditwheel knows no policy for it."""
    modules = ((name, data) for name, data in _elf_files(wheel) if name.endswith(".so"))
    return any(not _LIBC.search(data) and not _NAMED_FOR_LIBC.search(name) for name, data in modules)


def main(plan: dict[str, Any], environment: dict[str, str]) -> dict[str, object]:
    """Repair the wheel when asked; say how many compiled files it holds, and whether musl was in the way."""
    wheel = os.path.join("/in", plan["wheel"])
    with zipfile.ZipFile(wheel) as archive:
        compiled = 0
        for member in archive.infolist():
            with archive.open(member) as file:
                compiled += file.read(4) == b"\x7fELF"
    facts: dict[str, object] = {"compiled": compiled}
    if not compiled or not plan["repair"]:
        return facts
    os.mkdir(steps.OUT)
    if isinstance(plan["repair"], list):
        steps.unpack_source(environment)
        steps.run(steps.filled(plan["repair"], plan, wheel=wheel, dest_dir=steps.OUT), environment)
    else:
        platform = ["--plat", plan["platform"]] if _tells_no_libc(wheel) else []
        try:
            _auditwheel(["repair", "--wheel-dir", steps.OUT, *platform, wheel], environment)
        except steps.FailedError:
            if _needs_musl(wheel):
                return {**facts, "musl": True}  # auditwheel falls over glibc's file of the same name
            raise
    for name in sorted(os.listdir(steps.OUT)):
        door.put_file(os.path.join(steps.OUT, name))
    return facts
