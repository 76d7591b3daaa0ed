"""A program that is no Python project, as a platform wheel that installs its commands.

Source: the binary distribution format (wheel 1.0, files below `.data/scripts`), core metadata 2.1.
"""

from __future__ import annotations

import base64
import hashlib
import os
import time
import zipfile
from typing import Any

from buildfarm.sandbox.inside import steps

_EXECUTABLE = 0o100755
_FILE = 0o100644


def build(plan: dict[str, Any], environment: dict[str, str], project: str) -> str:
    """Run what makes the program, pack its commands; the path of the wheel."""
    told = plan["program"]
    steps.run(steps.filled(told["build"], plan), environment, project)
    name, version = told["name"].replace("-", "_"), told["version"]
    platform = environment.get("_PYTHON_HOST_PLATFORM", f"linux-{os.uname().machine}")
    tag = f"py3-none-{platform.replace('-', '_')}"
    members = {}
    for command, path in sorted(told["commands"].items()):
        made = os.path.join(project, path)
        if not os.path.isfile(made) or os.path.islink(made):
            raise RuntimeError(f"the build left no file {path!r} for the command {command!r}")
        with open(made, "rb") as file:
            members[f"{name}-{version}.data/scripts/{command}"] = file.read()
    info = f"{name}-{version}.dist-info"
    summary = f"Summary: {told['summary']}\n" if told["summary"] else ""
    members[f"{info}/METADATA"] = (
        f"Metadata-Version: 2.1\nName: {told['name']}\nVersion: {version}\n{summary}".encode()
    )
    members[f"{info}/WHEEL"] = (
        f"Wheel-Version: 1.0\nGenerator: buildfarm\nRoot-Is-Purelib: false\nTag: {tag}\n".encode()
    )
    members[f"{info}/RECORD"] = _record(members, f"{info}/RECORD")
    path = os.path.join(steps.OUT, f"{name}-{version}-{tag}.whl")
    when = time.gmtime(max(plan["source_date_epoch"], 315532800))[:6]  # a zip knows no time before 1980
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        for member, data in members.items():
            about = zipfile.ZipInfo(member, when)
            about.external_attr = (_EXECUTABLE if "/scripts/" in member else _FILE) << 16
            about.compress_type = zipfile.ZIP_DEFLATED
            wheel.writestr(about, data)
    print(f"{os.path.basename(path)}: {', '.join(sorted(told['commands']))}", flush=True)
    return path


def _record(members: dict[str, bytes], own: str) -> bytes:
    lines = []
    for member, data in members.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        lines.append(f"{member},sha256={digest},{len(data)}")
    return "\n".join([*lines, f"{own},,", ""]).encode()
