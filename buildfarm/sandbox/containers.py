"""One container's life: start, attach, watch, remove. It is always removed.

Log driver `none` means that nothing is stored by the engine; a container says nothing before its
builder comes to one of its pipes, and by then somebody reads.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import docker.errors

import docker
from buildfarm import log
from buildfarm.errors import FarmError
from buildfarm.sandbox.engine import engine_errors
from buildfarm.sandbox.policy import USER, host_config
from buildfarm.sandbox.spec import Limits
from buildfarm.sandbox.usage import Usage

_log = log.get(__name__)

#: How long what a container printed just before its end may be on its way to us, in seconds.
_LAST_WORDS_S = 1.0
#: Seconds between two looks at a container, and after which a kill is taken to have been lost.
_LOOK_S, _KILL_AGAIN_S = 0.2, 5.0

Stop = Literal["cancelled", "deadline", "idle", "probing"]


@dataclass(frozen=True)
class Ended:
    """How a container ended; `stopped` says why, when we ended it, `was_ready` whether it got to its plan."""

    exit_code: int
    stopped: Stop | None
    oom_killed: bool
    pids_refused: int
    was_ready: bool = True


class Container:
    """A started container; made by `running`."""

    def __init__(self, client: docker.APIClient, container_id: str, image_id: str, usage: Usage) -> None:
        self._client = client
        self.id = container_id
        self.image_id = image_id
        self.usage = usage
        self._drained = threading.Event()
        self._woken = threading.Event()
        self._broken: FarmError | None = None

    @property
    def has_ended(self) -> bool:
        """Whether its output is at its end."""
        return self._drained.is_set()

    def wake(self) -> None:
        """Have `watch` look at once."""
        self._woken.set()

    def watch(self, should_stop: Callable[[], Stop | None], is_over: Callable[[], bool]) -> Ended:
        """Wait for the end, asking `should_stop` several times a second; kill when it says so, until it ends.

        A container that `is_over` has ended well and said so. Its process is not waited for where the kernel
        tells what it used: nothing of what it may still do is looked at.

        Raises:
            ExternalFailure: the engine went away, or what it sent could not be taken.
        """
        stopped: Stop | None = None
        looked_at = killed_at = -math.inf
        while not self._drained.is_set():
            if not stopped and self.usage.oom_kills is not None and is_over():
                return Ended(0, None, bool(self.usage.oom_kills), self.usage.pids_refused or 0)
            self._woken.wait(_LOOK_S)
            self._woken.clear()
            # What runs inside may wake this as often as it likes.
            if (now := time.monotonic()) < looked_at + _LOOK_S:
                continue
            looked_at = now
            self.usage.sample()
            stopped = stopped or should_stop()
            if stopped and now > killed_at + _KILL_AGAIN_S:
                self.kill()
                killed_at = now
        if self._broken:
            raise self._broken
        with engine_errors("waiting for a container"):
            exit_code = int(self._client.wait(self.id, timeout=30)["StatusCode"])
            state = self._client.inspect_container(self.id)["State"]
        kills = self.usage.oom_kills
        # Where cgroups cannot be read, an unexplained SIGKILL is the kernel's.
        unexplained = kills is None and exit_code == 137 and stopped is None
        return Ended(
            exit_code=exit_code,
            stopped=stopped,
            oom_killed=bool(state.get("OOMKilled") or kills or unexplained),
            pids_refused=self.usage.pids_refused or 0,
        )

    def kill(self) -> None:
        """End every process of the container; one that has ended already is fine."""
        try:
            with engine_errors("killing a container"):
                self._client.kill(self.id)
        except FarmError as error:
            _log.info("container_kill_refused", container=self.id, reason=error.message)

    def _drain(self, stream: Iterator[bytes], feed: Callable[[bytes], None]) -> None:
        try:
            with engine_errors("reading a container's output"):
                for chunk in stream:
                    feed(chunk)
        except FarmError as error:
            self._broken = error
        finally:
            self._drained.set()
            self._woken.set()


def start(
    client: docker.APIClient,
    *,
    image: str,
    command: list[str],
    limits: Limits,
    mounts: Mapping[str, Path],
    labels: Mapping[str, str],
) -> str:
    """Start a container under the policy; its id. Whoever starts it removes it.

    Args:
        client: the engine.
        image: an image ID; a name would let the engine pull.
        command: what to run, as uid 1000; what it prints before `using` attaches is lost.
        limits: see `Limits`.
        mounts: path in the container -> directory on the host, read-only.
        labels: what the janitor finds it by.

    Raises:
        EnvironmentProblem: the image is not there.
        ExternalFailure: the engine is away or refuses.
    """
    with engine_errors("creating a container"):
        cpus = min(limits.cpus, os.cpu_count() or 1)  # the engine refuses more than there are
        of_image = client.inspect_image(image)["Config"]["Labels"] or {}  # type: ignore[no-untyped-call]
        machine = str(of_image.get("org.buildfarm.arch", ""))
        created = client.create_container(
            image,
            command=command,
            user=USER,
            working_dir="/work",
            labels=dict(labels),
            host_config=client.create_host_config(
                **host_config(limits, machine=machine, cpus=cpus, mounts=mounts)
            ),
        )
    container_id = str(created["Id"])
    try:
        with engine_errors("starting a container"):
            client.start(container_id)
    except BaseException:
        remove(client, container_id)
        raise
    return container_id


def is_running(client: docker.APIClient, container_id: str) -> bool:
    """Whether a container runs; one that is gone does not.

    Raises:
        ExternalFailure: the engine is away.
    """
    with engine_errors("looking at a container"):
        try:
            return bool(client.inspect_container(container_id)["State"]["Running"])
        except docker.errors.NotFound:
            return False


@contextmanager
def using(
    client: docker.APIClient, container_id: str, name: str, feed: Callable[[bytes], None]
) -> Iterator[Container]:
    """A started container with its output, removed at the end, whatever happens.

    Args:
        client: the engine.
        container_id: what `start` gave.
        name: what people see it by from now on.
        feed: is given the output as it comes, in a thread; blocking it blocks the container.

    Raises:
        ExternalFailure: the engine is away.
    """
    reader: threading.Thread | None = None
    try:
        with engine_errors("attaching to a container"):
            stream = client.attach(container_id, stdout=True, stderr=True, stream=True)
            facts = client.inspect_container(container_id)
        usage = Usage(container_id, int(facts["State"].get("Pid") or 0))
        container = Container(client, container_id, str(facts["Image"]), usage)
        reader = threading.Thread(target=container._drain, args=(stream, feed), daemon=True)
        reader.start()
        if not facts["State"]["Running"]:
            # The engine tells no end of an output to who attaches after it.
            reader.join(timeout=_LAST_WORDS_S)
            if reader.is_alive():
                with engine_errors("letting go of an ended container"):
                    stream.close()
        try:
            client.rename(container_id, name)
        except docker.errors.APIError as error:  # a container of that name is still being removed
            _log.info("container_not_renamed", container=container_id, error=str(error.explanation))
        yield container
    finally:
        remove(client, container_id)
        if reader is not None:
            reader.join(timeout=10)


def remove(client: docker.APIClient, container_id: str) -> bool:
    """Force-remove a container, trying for some seconds; True when it is gone."""
    for pause in (0.2, 1.0, 3.0, None):
        try:
            client.remove_container(container_id, v=True, force=True)
        except docker.errors.NotFound:
            return True
        except Exception as error:  # noqa: BLE001 - whatever it is, the removal is tried again
            if getattr(getattr(error, "response", None), "status_code", None) == 409:
                return True  # "removal is already in progress"
            _log.warning("container_removal_failed", container=container_id, error=str(error))
            if pause is not None:
                time.sleep(pause)
        else:
            return True
    return False
