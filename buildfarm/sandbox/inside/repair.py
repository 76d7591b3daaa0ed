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
from typing import Any

from buildfarm.sandbox.inside import door, steps

#: The name of musl's libc among the strings of an ELF file.
_MUSL = re.compile(rb"\0libc\.(?:so|musl-\w+\.so\.1)\0")

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
    if isinstance(plan["repair"], list):
        steps.unpack_source(environment)
        steps.run(steps.filled(plan["repair"], plan, wheel=wheel, dest_dir=steps.OUT), environment)
    else:
        try:
            _auditwheel(["repair", "--wheel-dir", steps.OUT, wheel], environment)
        except steps.FailedError:
            if _needs_musl(wheel):
                return {**facts, "musl": True}  # auditwheel falls over glibc's file of the same name
            raise
    for name in sorted(os.listdir(steps.OUT)):
        door.put_file(os.path.join(steps.OUT, name))
    return facts
