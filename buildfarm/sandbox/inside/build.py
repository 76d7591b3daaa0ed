"""Phases source, deps and build: a small PEP 517 frontend whose steps can be told apart."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import tomllib
from typing import Any

from buildfarm.sandbox.inside import archives, door, program, steps, zig

_LEGACY: dict[str, Any] = {
    "requires": ["setuptools>=40.8.0"],
    "build-backend": "setuptools.build_meta:__legacy__",
}

_HOOK = os.path.join(os.path.dirname(__file__), "hook.py")


def _build_system(project: str) -> dict[str, Any]:
    """The [build-system] table with the defaults of PEP 517 and 518."""
    try:
        with open(os.path.join(project, "pyproject.toml"), "rb") as file:
            table: Any = tomllib.load(file).get("build-system", _LEGACY)
    except FileNotFoundError:
        return _LEGACY
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RuntimeError(f"pyproject.toml cannot be read: {error}") from error
    if not isinstance(table, dict):
        raise RuntimeError("pyproject.toml: build-system is no table")
    _requirements(table.get("requires", []), "pyproject.toml: build-system.requires")
    if "build-backend" not in table:
        return {**_LEGACY, "requires": table.get("requires", _LEGACY["requires"])}
    if not isinstance(table["build-backend"], str) or not _are_strings(table.get("backend-path", [])):
        raise RuntimeError("pyproject.toml: build-system names no backend")
    return table


def _are_strings(value: Any) -> bool:  # noqa: ANN401 - what a stranger wrote
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _requirements(value: Any, where: str) -> list[str]:  # noqa: ANN401 - what a stranger wrote
    """A list of requirements: a text would be one for each letter, and what begins with `-` is an option."""
    if not _are_strings(value) or any(item.lstrip().startswith("-") for item in value):
        raise RuntimeError(f"{where} is no list of requirements")
    return list(value)


class _Backend:
    """The backend's process, which calls one hook after the other; see hook.py."""

    def __init__(self, system: dict[str, Any], project: str, environment: dict[str, str]) -> None:
        self._name = system["build-backend"]
        status, write = os.pipe()
        place = json.dumps(system.get("backend-path", []))
        self._process = subprocess.Popen(
            [f"{steps.ENV}/bin/python", _HOOK, self._name, place, str(write)],
            stdin=subprocess.PIPE, text=True, cwd=project, env=environment | zig.variables(),
            pass_fds=(write,),
        )  # fmt: skip
        os.close(write)
        self._status = os.fdopen(status, encoding="ascii")

    def call(self, hook: str, *arguments: object) -> Any:  # noqa: ANN401 - whatever the hook says
        result = "/work/hook.json"
        if os.path.lexists(result):
            os.unlink(result)  # of the hook before, which this one must not pass for its own
        print(f"$ {self._name} {hook} {json.dumps(arguments)}", flush=True)
        if code := self._exit_code(json.dumps([hook, arguments, result])):
            raise steps.FailedError(code if code > 0 else 128 - code)
        try:
            with open(result, encoding="utf-8") as file:
                return json.load(file)
        except (OSError, ValueError, RecursionError) as error:
            raise RuntimeError(f"the backend's {hook} ended without an answer") from error

    def _exit_code(self, line: str) -> int:
        assert self._process.stdin is not None  # noqa: S101 - it was asked for
        with contextlib.suppress(BrokenPipeError):  # the backend cannot be imported: the log has it
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        status = self._status.readline(20).strip()
        if status.lstrip("-").isdigit():
            return int(status)
        return self._process.wait() or 1


def _prepare(plan: dict[str, Any], environment: dict[str, str]) -> dict[str, str]:
    """Run what the recipe wants to run first; the environment in which the build finds its programs."""
    steps.make_environment(steps.TOOLS)
    steps.install(["pip"], environment, steps.TOOLS)
    first, *rest = environment["PATH"].split(":")
    own = {**environment, "VIRTUAL_ENV": steps.TOOLS, "PATH": ":".join([f"{steps.TOOLS}/bin", *rest])}
    steps.run(steps.filled(plan["before"], plan), own | zig.compilers(), steps.SOURCE)
    return {**environment, "PATH": ":".join([first, f"{steps.TOOLS}/bin", *rest])}


def _named(wheel: str, plan: dict[str, Any]) -> str:
    """The wheel under the local version and the build number that the farm gave it, where it gave one."""
    if plan["local_version"]:
        wheel = archives.localise(wheel, plan["local_version"])
    return archives.number(wheel, plan["wheel_build"]) if plan["wheel_build"] else wheel


def prepare() -> None:
    """The environment that the backend is installed into."""
    steps.make_ready()
    zig.prepare()


def main(plan: dict[str, Any], environment: dict[str, str]) -> dict[str, object]:
    """Unpack, install what the build requires, call the hooks, hand the results out."""
    steps.mark("source")
    steps.unpack_source(environment)

    steps.mark("deps")
    project = steps.project_folder(plan)
    if not os.path.isdir(project):
        print(f"ERROR: the source has no directory {plan['subdirectory']!r}", flush=True)
        raise steps.FailedError(1)
    if plan["before"]:
        environment = _prepare(plan, environment)
    if plan["program"]:
        steps.mark("build")
        os.mkdir(steps.OUT)
        door.put_file(_named(program.build(plan, environment | zig.variables(), project), plan))
        return {}
    system = _build_system(project)
    if system.get("requires"):
        steps.install(system["requires"], environment)
    wanted = [kind for kind in ("sdist", "wheel") if plan[kind]]
    backend = _Backend(system, project, environment)
    settings = {
        name: steps.filled(given, plan) if isinstance(given, list) else steps.filled([given], plan)[0]
        for name, given in plan["config_settings"].items()
    }
    for kind in wanted:
        hook = f"get_requires_for_build_{kind}"
        more = backend.call(hook, settings)
        if more:
            steps.install(_requirements(more, f"what the backend's {hook} answers"), environment)
            backend = _Backend(system, project, environment)  # its import may look for what was missing

    steps.mark("build")
    os.mkdir(steps.OUT)
    facts: dict[str, object] = {}
    for kind in wanted:
        if kind != wanted[0]:
            # What one build leaves in the source must not get into the other: it would be another version.
            steps.unpack_source(environment)
            backend = _Backend(system, project, environment)
        name = backend.call(f"build_{kind}", steps.OUT, settings)
        if not isinstance(name, str):
            raise RuntimeError(f"the backend's build_{kind} named no file")
        made = os.path.join(steps.OUT, os.path.basename(name))
        is_own = os.path.isfile(made) and not os.path.islink(made)  # what is not is refused below
        if kind == "sdist" and is_own:
            archives.normalise(made, plan["source_date_epoch"])
        if kind == "wheel" and is_own:
            made = _named(made, plan)
        if kind == "sdist" and plan["local_version"] and "+" not in name:
            # Installers refuse a source archive that builds another version than its own.
            print(f"{name} is not handed out: what is built from it would be no dev build", flush=True)
            facts["withheld"] = name
            continue
        door.put_file(made)
    return facts
