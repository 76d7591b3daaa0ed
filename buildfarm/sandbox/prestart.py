"""Containers that are started ahead of their use: image and isolation, nothing of any attempt.

Each is used once. It lies as a folder below the builder's working directory, and whoever moves the folder
has it: what is mounted in the container goes along. A builder that has nothing to do starts some, of the
kinds that its last attempts used, so that the engine's work is off the way from push to wheel.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import docker
from buildfarm import log
from buildfarm.errors import FarmError
from buildfarm.sandbox import policy
from buildfarm.sandbox.containers import is_running, remove, start
from buildfarm.sandbox.engine import connect
from buildfarm.sandbox.spec import AttemptOutcome, AttemptSpec, Limits, Phase

_log = log.get(__name__)

Script = Literal["build", "repair", "trial", "bytecode"]

_SCRIPTS: dict[Phase, Script] = {"build": "build", "repair": "repair", "test": "trial"}
#: How long a started container may wait for its use, in seconds.
_LIFE_S = 3600
#: How many wait at most below one working directory.
_MOST = 6
_PAUSE_S = 0.01
_READY = "ready"
_WANTED = "ready-wanted"
_ID = "container"
_PACKAGE = "buildfarm.sandbox.inside"
_ENTER = f"import sys; sys.path.insert(0, {policy.SCRIPTS_DIR!r}); from {_PACKAGE}.enter import main; main()"


@dataclass(frozen=True)
class Kind:
    """What a started container is good for."""

    script: Script
    image: str
    interpreter: str
    limits: Limits

    @property
    def python(self) -> str:
        """The interpreter in the image: it runs the scripts, and the environments are made of it."""
        return f"/opt/python/{self.interpreter.removesuffix('t')}-{self.interpreter}/bin/python"

    @property
    def key(self) -> str:
        """The same for kinds that are the same."""
        told = f"{self.script} {self.image} {self.interpreter} {self.limits.model_dump_json()}"
        return hashlib.sha256(told.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Started:
    """A container that waits for its plan, and the folder that holds what is mounted in it."""

    container_id: str
    folder: Path

    @property
    def given(self) -> Path:
        """The container's `/in`."""
        return self.folder / "in"

    @property
    def plan(self) -> Path:
        """The pipe that the container reads its plan from."""
        return self.given / "plan"

    @property
    def broken(self) -> Path:
        """The pipe that the container waits at when its image could not be made ready."""
        return self.given / "broken"

    @property
    def door(self) -> Path:
        """The directory of the container's socket."""
        return self.folder / "door"

    def tell(self, plan: Mapping[str, Any], has_given_up: Callable[[], bool]) -> bool:
        """Write the plan, once the container wants it.

        False when it is given up before that, and when the container could not make ready: it says why now.
        """
        while not has_given_up():
            if (pipe := _opened(self.broken)) is not None:
                os.close(pipe)
                return False
            if (pipe := _opened(self.plan)) is None:
                time.sleep(_PAUSE_S)
                continue
            os.set_blocking(pipe, True)
            try:
                with os.fdopen(pipe, "wb") as file:
                    file.write(json.dumps(plan).encode())
            except BrokenPipeError:
                pass  # it has just ended; its watch says how
            return True
        return False


def _opened(pipe: Path) -> int | None:
    """A pipe opened for writing; None while nobody has opened it for reading."""
    try:
        return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
    except OSError:
        return None


def start_one(client: docker.APIClient, kind: Kind, folder: Path, instance: str) -> Started:
    """Start a container of a kind with its directories in `folder`, which must not exist.

    Raises:
        EnvironmentProblem: the image is not in the engine.
        ExternalFailure: the engine is away or refuses.
    """
    given, door, scripts = (directory(folder / name) for name in ("in", "door", "farm"))
    _copy_scripts(scripts)
    started = Started("", folder)
    for pipe in (started.plan, started.broken):
        os.mkfifo(pipe)
        pipe.chmod(0o644)
    # The watch of the attempt is the limit; this one holds when every process of the farm has died.
    last_resort = ["timeout", "--kill-after=10", f"{_LIFE_S + kind.limits.seconds + 30:.0f}"]
    container_id = start(
        client,
        image=kind.image,
        command=[*last_resort, kind.python, "-I", "-S", "-B", "-c", _ENTER, kind.script],
        limits=kind.limits,
        mounts={policy.INPUT_DIR: given, policy.SCRIPTS_DIR: scripts, policy.SOCKET_DIR: door},
        labels={policy.LABEL_INSTANCE: instance},
    )
    return replace(started, container_id=container_id)


def take(client: docker.APIClient, kind: Kind, workdir: Path, into: Path) -> Started | None:
    """A waiting container of a kind, its folder moved to `into`; None when there is none that runs."""
    for folder in (workdir / _READY).glob(f"{kind.key}-*"):
        try:
            is_old = _is_old(folder)
            folder.rename(into)
        except OSError:  # another attempt was quicker
            continue
        started = Started((into / _ID).read_text(), into)
        if not is_old and is_running(client, started.container_id):
            return started
        remove(client, started.container_id)
        shutil.rmtree(into)
    return None


def remember(spec: AttemptSpec, outcome: AttemptOutcome, workdir: Path) -> None:
    """Note which kinds of containers an attempt used: the next one will want the same."""
    used = {
        Kind(_SCRIPTS[report.phase], report.image_id, spec.interpreter, spec.limits)
        for report in outcome.phases
        if report.image_id and report.phase in _SCRIPTS
    }
    known = [kind for kind in _wanted(workdir) if kind not in used]
    lines = [json.dumps(asdict(kind) | {"limits": kind.limits.model_dump()}) for kind in (*used, *known)]
    part = workdir / f"{_WANTED}.part"
    part.write_text("\n".join(lines[:_MOST]))
    part.rename(workdir / _WANTED)


def refill(*, docker_host: str | None, workdir: Path, instance: str) -> None:
    """Start a container of each kind that is wanted and of which none waits; others, and old ones, end.

    To be called when there is nothing else to do. What cannot be started is not missed, and not tried again
    before the next attempt, which starts its own.
    """
    wanted = {kind.key: kind for kind in _wanted(workdir)}
    folders = list((workdir / _READY).glob("*-*"))
    kept = {_key_of(folder) for folder in folders if not _is_old(folder)} & wanted.keys()
    unwanted = [folder for folder in folders if _is_old(folder) or _key_of(folder) not in kept]
    missing = [kind for key, kind in wanted.items() if key not in kept]
    if not (missing or unwanted):
        return
    try:
        with connect(docker_host) as client:
            for folder in unwanted:
                remove(client, (folder / _ID).read_text())
                shutil.rmtree(folder, ignore_errors=True)
            for kind in missing:
                _leave(client, kind, workdir, instance)
    except (FarmError, OSError) as error:
        _log.info("container_not_prestarted", reason=str(error))
        (workdir / _WANTED).unlink(missing_ok=True)


def _key_of(folder: Path) -> str:
    return folder.name.partition("-")[0]


def _is_old(folder: Path) -> bool:
    return time.time() - folder.stat().st_mtime > _LIFE_S


def _wanted(workdir: Path) -> list[Kind]:
    try:
        lines = (workdir / _WANTED).read_text().splitlines()
    except OSError:
        return []
    told = [json.loads(line) for line in lines]
    return [Kind(**{**one, "limits": Limits.model_validate(one["limits"])}) for one in told]


def _leave(client: docker.APIClient, kind: Kind, workdir: Path, instance: str) -> None:
    ready = workdir / _READY
    ready.mkdir(mode=0o700, exist_ok=True)
    name = uuid.uuid4().hex[:12]
    making = workdir / f"{_READY}-{name}"
    try:
        started = start_one(client, kind, making, instance)
        (making / _ID).write_text(started.container_id)
        making.rename(ready / f"{kind.key}-{name}")
    except BaseException:
        shutil.rmtree(making, ignore_errors=True)
        raise


def forget(workdir: Path) -> None:
    """Remove the folders of containers that are gone: a builder's last life left them."""
    (workdir / _WANTED).unlink(missing_ok=True)
    for folder in (*workdir.glob(f"{_READY}*"), *workdir.glob("bytecode-*")):
        shutil.rmtree(folder, ignore_errors=True)


def directory(path: Path) -> Path:
    """A new directory that the container's user may read, whatever our umask."""
    path.mkdir(parents=True)
    path.chmod(0o755)
    return path


def _copy_scripts(into: Path) -> None:
    """Copy what runs inside, under the name of its package."""
    for name in _PACKAGE.split("."):
        into = directory(into / name)
    for script in resources.files(_PACKAGE).iterdir():
        if script.name.endswith(".py"):
            copy = into / script.name
            copy.write_text(script.read_text(encoding="utf-8"), encoding="utf-8")
            copy.chmod(0o644)
