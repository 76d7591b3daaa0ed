"""One step of an attempt: a container of its own, its door, and the directories it is given.

A stage is opened, and its container started, before it is known what it will do: it waits for its
plan. That takes the start of the later containers off the way from push to wheel.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from importlib import resources
from pathlib import Path
from typing import Any

import docker
from buildfarm.sandbox import policy
from buildfarm.sandbox.channel import Channel, Traffic
from buildfarm.sandbox.containers import Container, Ended, Stop, running
from buildfarm.sandbox.port import FarmPort
from buildfarm.sandbox.spec import AttemptSpec

_PLAN = "plan.json"
_PACKAGE = "buildfarm.sandbox.inside"
_ENTER = f"import sys; sys.path.insert(0, {policy.SCRIPTS_DIR!r}); from {_PACKAGE}.enter import main; main()"


class Stage:
    """A started container that waits for its plan; `close()` removes it.

    Args:
        client: the engine.
        script: which of the inside scripts it runs: `build`, `repair` or `trial`.
        image: an image ID.
        spec: the attempt it belongs to.
        farm: answers what the container asks of the index.
        root: the attempt's working directory; the stage makes its own below it.
        scripts: a directory made by `copy_scripts`.
        instance: the builder's name.
        seconds: time left; long after it the container ends by itself.
        feed: is given the output as it comes, once it is this stage's turn.

    Raises:
        EnvironmentProblem: the image is not in the engine.
        ExternalFailure: the engine is away or refuses.
    """

    def __init__(
        self,
        client: docker.APIClient,
        *,
        script: str,
        image: str,
        spec: AttemptSpec,
        farm: FarmPort,
        root: Path,
        scripts: Path,
        instance: str,
        seconds: float,
        feed: Callable[[bytes], None],
    ) -> None:
        self._spec = spec
        self._python = f"/opt/python/{spec.interpreter.removesuffix('t')}-{spec.interpreter}/bin/python"
        self._given = _directory(root / script / "in")
        door = _directory(root / script / "door")
        outputs = _directory(root / script / "out")
        # The watch is the limit; this one holds when every process of the farm has died.
        last_resort = ["timeout", "--kill-after=10", f"{seconds + 30:.0f}"]
        enter = [self._python, "-I", "-S", "-B", "-c", _ENTER, script]
        self._feed = feed
        self._turn = threading.Event()
        self._over = False
        with ExitStack() as stack:
            channel = Channel(farm, door, outputs, spec.limits, on_facts=self._sample)
            self._channel = stack.enter_context(channel)
            self.container: Container = stack.enter_context(
                running(
                    client,
                    image=image,
                    command=[*last_resort, *enter],
                    limits=spec.limits,
                    mounts={
                        policy.INPUT_DIR: self._given,
                        policy.SCRIPTS_DIR: scripts,
                        policy.SOCKET_DIR: door,
                    },
                    labels={
                        policy.LABEL_INSTANCE: instance,
                        policy.LABEL_JOB: spec.job_id,
                        policy.LABEL_ATTEMPT: str(spec.attempt),
                        policy.LABEL_DEADLINE: f"{time.time() + seconds:.0f}",
                    },
                    feed=self._hold,
                )
            )
            self._stack = stack.pop_all()

    def run(
        self,
        plan: Mapping[str, Any],
        inputs: Mapping[str, Path],
        should_stop: Callable[[], Stop | None],
    ) -> tuple[Ended, Traffic]:
        """Give the container its inputs and its plan, and wait for its end.

        Variables of the plan win over those of the attempt.

        Raises:
            ExternalFailure: the engine went away.
        """
        for name, path in inputs.items():
            path.chmod(0o644)
            (self._given / name).hardlink_to(path)
        whole = {
            **plan,
            "python": self._python,
            "source_date_epoch": self._spec.source_date_epoch,
            "environment": {**self._spec.environment, **plan.get("environment", {})},
        }
        self._turn.set()
        _write(self._given / f"{_PLAN}.part", json.dumps(whole)).rename(self._given / _PLAN)
        traffic = self._channel.traffic
        ended = self.container.watch(lambda: should_stop() or ("probing" if traffic.is_probing else None))
        return ended, traffic

    def close(self) -> None:
        """Remove the container and close its door."""
        self._over = True
        self._turn.set()
        self._stack.close()

    def _hold(self, data: bytes) -> None:
        """Keep early output back: the log belongs to one container at a time."""
        self._turn.wait()
        if not self._over:
            self._feed(data)

    def _sample(self) -> None:
        self.container.usage.sample()


def copy_scripts(root: Path) -> Path:
    """Copy what runs inside to where the container's user may read it, whatever our umask."""
    farm = root / "farm"
    scripts = farm.joinpath(*_PACKAGE.split("."))
    for directory in (*reversed(scripts.parents[: len(_PACKAGE.split("."))]), scripts):
        _directory(directory)
    for script in resources.files(_PACKAGE).iterdir():
        if script.name.endswith(".py"):
            _write(scripts / script.name, script.read_text(encoding="utf-8"))
    return farm


def _directory(path: Path) -> Path:
    path.mkdir(parents=True)
    path.chmod(0o755)
    return path


def _write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    path.chmod(0o644)
    return path
