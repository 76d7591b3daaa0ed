"""Phase repair: give a platform wheel the tag its symbols allow, graft what it needs.

Its wheel is read here, and a recipe may say how: that is why this is a container.
"""

from __future__ import annotations

import os
import zipfile
from typing import Any

from buildfarm.sandbox.inside import door, steps


def main(plan: dict[str, Any], environment: dict[str, str]) -> dict[str, object]:
    """Repair the wheel when asked; say how many compiled files it holds."""
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
    steps.run(command, environment)
    for name in sorted(os.listdir(steps.OUT)):
        door.put_file(os.path.join(steps.OUT, name))
    return facts
