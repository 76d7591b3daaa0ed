"""One step of an attempt: a container of its own, its door, and the directories it is given.

A stage is opened before it is known what it will do: its container waits for its plan. It is one that
was started ahead, where there is one of its kind.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import docker
from buildfarm.sandbox import prestart
from buildfarm.sandbox.bytecode import Bytecode
from buildfarm.sandbox.channel import Channel, Traffic
from buildfarm.sandbox.compilecache import CompileCache
from buildfarm.sandbox.containers import Container, Ended, Stop, using
from buildfarm.sandbox.logstream import OVER
from buildfarm.sandbox.port import FarmPort
from buildfarm.sandbox.prestart import Kind, Script
from buildfarm.sandbox.spec import AttemptSpec

_LAST = OVER + b"\n"


class Stage:
    """A started container that waits for its plan; `close()` removes it.

    Args:
        client: the engine.
        kind: what the container is.
        spec: the attempt it belongs to.
        farm: answers what the container asks of the index.
        root: the attempt's working directory; the stage makes its own below it.
        instance: the builder's name.
        cache: what compilers made before, for the build alone.
        bytecode: the host's store of it, where it has one.
        feed: is given the output as it comes, once it is this stage's turn.

    Raises:
        EnvironmentProblem: the image is not in the engine.
        ExternalFailure: the engine is away or refuses.
    """

    def __init__(
        self,
        client: docker.APIClient,
        *,
        kind: Kind,
        spec: AttemptSpec,
        farm: FarmPort,
        root: Path,
        instance: str,
        cache: CompileCache | None,
        bytecode: Path | None,
        feed: Callable[[bytes], None],
    ) -> None:
        self._spec = spec
        self._feed = feed
        self._turn = threading.Event()
        self._over = False
        self._tail = b""
        self._said_all = threading.Event()
        folder = root / kind.script
        started = prestart.take(client, kind, root.parent, folder) or prestart.start_one(
            client, kind, folder, instance
        )
        self._started = started
        name = f"{instance}.{spec.job_id}.{spec.attempt}.{kind.script}"
        with ExitStack() as stack:
            # Closed after the container is gone: connections that it holds would keep its door open.
            door = stack.enter_context(ExitStack())
            self.container: Container = stack.enter_context(
                using(client, started.container_id, name, self._hold)
            )
            outputs = prestart.directory(folder / "out")
            channel = Channel(
                farm,
                started.door,
                outputs,
                spec.limits,
                cache,
                Bytecode(bytecode, kind) if bytecode else None,
                on_facts=self._last_word,
            )
            self._channel = door.enter_context(channel)
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
            (self._started.given / name).hardlink_to(path)
        whole = {
            **plan,
            "compile_cache": self._spec.compile_cache is not None,
            "source_date_epoch": self._spec.source_date_epoch,
            "environment": {**self._spec.environment, **plan.get("environment", {})},
        }
        self._turn.set()
        was_ready = self._started.tell(whole, lambda: self.container.has_ended or bool(should_stop()))
        traffic = self._channel.traffic
        ended = self.container.watch(
            lambda: should_stop() or ("probing" if traffic.is_probing else None),
            lambda: self._said_all.is_set() and traffic.has_ended_well,
        )
        if ended.stopped is None and traffic.is_probing:  # it ended before anybody stopped it
            ended = replace(ended, stopped="probing")
        return replace(ended, was_ready=was_ready), traffic

    def close(self) -> None:
        """Remove the container and close its door."""
        self._over = True
        self._turn.set()
        self._stack.close()

    def _hold(self, data: bytes) -> None:
        """Keep early output back: the log belongs to one container at a time."""
        self._turn.wait()
        if self._over:
            return
        self._feed(data)
        self._tail = (self._tail + data)[-len(_LAST) :]
        if self._tail == _LAST:
            self._said_all.set()
            self.container.wake()

    @contextmanager
    def _last_word(self) -> Iterator[None]:
        """What it used is known before its last word is, by which it may be over."""
        self.container.usage.sample()
        yield
        self.container.wake()


class Stages:
    """Opens stages ahead of their use and closes them off the way; none is left at the end.

    Args:
        open_stage: makes the stage of a script in an image; called in a thread.
    """

    def __init__(self, open_stage: Callable[[Script, str], Stage]) -> None:
        self._open_stage = open_stage
        self._stack = ExitStack()
        # One after the other: the first is needed at once, the others later.
        self._pool = self._stack.enter_context(ThreadPoolExecutor(max_workers=1))
        self._opened: dict[Script, Future[Stage]] = {}

    def __enter__(self) -> Stages:
        return self

    def __exit__(self, *_exc: object) -> None:
        with self._stack:
            for future in self._opened.values():
                self._pool.submit(self._close, future)

    def open(self, script: Script, image: str) -> None:
        """Begin to start a container."""
        self._opened[script] = self._pool.submit(self._open_stage, script, image)

    def take(self, script: Script) -> Stage:
        """The stage, once its container runs."""
        return self._opened[script].result()

    def dismiss(self, script: Script) -> None:
        """Close a stage in the background."""
        self._pool.submit(self._opened.pop(script).result().close)

    @staticmethod
    def _close(future: Future[Stage]) -> None:
        if future.exception() is None:
            future.result().close()
