"""Phase repair: give a platform wheel the tag its symbols allow, graft what it needs.

Its wheel is read here, and a recipe may say how: that is why this is a container.
"""

from __future__ import annotations

import os
import re
import zipfile
from typing import Any

from buildfarm.sandbox.inside import door, steps

#: The name of musl's libc among the strings of an ELF file.
_MUSL = re.compile(rb"\0libc\.(?:so|musl-\w+\.so\.1)\0")


def _needs_musl(wheel: str) -> bool:
    with zipfile.ZipFile(wheel) as archive:
        members = (archive.read(name) for name in archive.namelist())
        return any(data.startswith(b"\x7fELF") and _MUSL.search(data) for data in members)


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
    command = ["auditwheel", "repair", "--wheel-dir", steps.OUT, wheel]
    if isinstance(plan["repair"], list):
        steps.unpack_source(environment)
        command = steps.filled(plan["repair"], plan, wheel=wheel, dest_dir=steps.OUT)
    try:
        steps.run(command, environment)
    except steps.FailedError:
        if isinstance(plan["repair"], list) or not _needs_musl(wheel):
            raise
        return {**facts, "musl": True}  # auditwheel falls over glibc's file of the same name
    for name in sorted(os.listdir(steps.OUT)):
        door.put_file(os.path.join(steps.OUT, name))
    return facts
