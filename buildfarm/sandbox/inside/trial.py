"""Phase test: install the finished wheel in a clean environment and use it."""

from __future__ import annotations

import os
import shutil
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


def _copy(path: str, folder: str) -> None:
    source, copy = os.path.join(steps.SOURCE, path), os.path.join(folder, path)
    if not os.path.exists(source):
        print(f"ERROR: the source has no {path!r}", flush=True)
        raise steps.FailedError(1)
    os.makedirs(os.path.dirname(copy), exist_ok=True)
    if os.path.isdir(source):
        shutil.copytree(source, copy, symlinks=True, dirs_exist_ok=True)
    else:
        shutil.copy(source, copy)


def prepare() -> None:
    """The environment that the wheel is installed into."""
    steps.make_ready()


def main(plan: dict[str, Any], environment: dict[str, str]) -> dict[str, object]:
    """Install with dependencies from the farm's index, then run the command or import everything."""
    wheel = os.path.join("/in", plan["wheel"])
    before, command = (steps.filled(plan[which], plan, wheel=wheel) for which in ("before", "command"))
    if any(plan[which] for which in ("groups", "sources", "requirements")) or any(
        steps.SOURCE in word for word in (*before, *command)
    ):
        steps.unpack_source(environment)
    scratch = "/work/scratch"
    os.mkdir(scratch)
    for path in plan["sources"]:
        _copy(path, scratch)
    if before:
        steps.install(["pip"], environment)
        steps.run(before, environment, scratch)
    extras = f"[{','.join(plan['extras'])}]" if plan["extras"] else ""
    stated = os.path.join(steps.project_folder(plan), "pyproject.toml")
    groups = [word for group in plan["groups"] for word in ("--group", f"{stated}:{group}")]
    files = [word for path in plan["requirements"] for word in ("-r", os.path.join(steps.SOURCE, path))]
    steps.install([wheel + extras, *plan["requires"], *files, *groups], environment)
    if not command:
        names = _top_level(wheel)
        print("$ import " + " ".join(names), flush=True)
        command = [f"{steps.ENV}/bin/python", "-I", "-c", _IMPORT, *names]
    steps.run(command, environment, scratch)
    return {}
