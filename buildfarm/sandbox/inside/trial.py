"""Phase test: install the finished wheel in a clean environment and use it."""

from __future__ import annotations

import os
import zipfile
from typing import Any

from buildfarm.sandbox.inside import steps

_IMPORT = """
import importlib, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
    print("import", name + ": ok", flush=True)
"""


def _top_level(wheel: str) -> list[str]:
    """Importable names at the top of a wheel: packages, modules, extension modules."""
    names = set()
    with zipfile.ZipFile(wheel) as archive:
        for path in archive.namelist():
            head, slash, rest = path.partition("/")
            if slash and not rest.endswith((".py", ".so")):
                continue
            name = head if slash else head.partition(".")[0]
            if name.isidentifier() and (slash or head.endswith((".py", ".so"))):
                names.add(name)
    return sorted(names)


def main(plan: dict[str, Any], environment: dict[str, str]) -> dict[str, object]:
    """Install with dependencies from the farm's index, then run the command or import everything."""
    wheel = os.path.join("/in", plan["wheel"])
    steps.make_environment(plan["python"], environment)
    steps.install([wheel, *plan["requires"]], environment)
    command = plan["command"]
    if any("{project}" in word for word in command):
        steps.unpack_source(environment)
    if not command:
        names = _top_level(wheel)
        print("$ import " + " ".join(names), flush=True)
        command = [f"{steps.ENV}/bin/python", "-I", "-c", _IMPORT, *names]
    scratch = "/work/scratch"
    os.mkdir(scratch)
    steps.run([word.replace("{project}", steps.SOURCE) for word in command], environment, scratch)
    return {}
