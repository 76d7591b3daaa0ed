"""No container outlives its builder: a small watcher process, and the sweep at start-up.

The watcher is a process of its own, in its own session. It waits for the builder's death in two
ways: a pipe that closes, and the parent's pid descriptor, because a process forked from the
builder inherits the pipe's end and may live on. Until then it has loaded nothing but the standard
library, so that it costs little.
"""

from __future__ import annotations

import fcntl
import os
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

from buildfarm.errors import EnvironmentProblem, ExternalFailure, FarmError

_RETRY_SECONDS = 60.0
_DONE = b"."


class Janitor:
    """The running watcher; `stop()` sends it home without sweeping."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    @property
    def pid(self) -> int:
        """The watcher's process id."""
        return self._process.pid

    def stop(self) -> None:
        """End the watcher: the builder goes in good order and has removed its containers itself."""
        pipe = self._process.stdin
        if pipe is not None:
            try:
                pipe.write(_DONE)
                pipe.close()
            except BrokenPipeError:
                pass  # it has ended already
        self._process.wait(timeout=60)


def start_janitor(docker_host: str | None, instance: str, workdir: Path) -> Janitor:
    """Start the watcher of the calling process, once that of its earlier life has ended.

    Until then what the caller starts would be removed with what its earlier life left.

    Args:
        docker_host: the engine; None follows the environment.
        instance: what the builder labels its containers with.
        workdir: where this builder works, in each of its lives.

    Raises:
        EnvironmentProblem: `builder.workdir`, there is no such folder, and it cannot be made.
    """
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        lock = os.open(workdir, os.O_RDONLY)
    except OSError as err:
        why = f"Nothing can be built in {workdir}: {err.strerror}."
        raise EnvironmentProblem(why, code="builder.workdir") from err
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        process = subprocess.Popen(
            [sys.executable, "-m", __name__, docker_host or "", instance, str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            bufsize=0,
            start_new_session=True,
            pass_fds=[lock],  # it holds the lock from now on, to its end
        )
    finally:
        os.close(lock)
    return Janitor(process)


def reap(docker_host: str | None, instance: str) -> int:
    """Remove this instance's containers; how many there were.

    An instance is one builder process, and the process that runs its attempts dies with it: when
    neither is there, whatever bears its label is left over.

    Raises:
        ExternalFailure: the engine does not answer.
    """
    from buildfarm.sandbox import policy
    from buildfarm.sandbox.containers import remove
    from buildfarm.sandbox.engine import connect, engine_errors

    removed = 0
    with connect(docker_host) as client:
        with engine_errors("listing containers"):
            found = client.containers(all=True, filters={"label": f"{policy.LABEL_INSTANCE}={instance}"})
        for container in found:
            removed += remove(client, container["Id"])
    return removed


def sweep(workdir: Path) -> list[tuple[str, int]]:
    """Remove the working directories that dead attempts left; the (job, attempt) that each belonged to."""
    left = []
    for path in workdir.iterdir() if workdir.is_dir() else ():
        job_id, _, attempt = path.name.rpartition("_")
        if job_id and attempt.isdigit() and path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
            left.append((job_id, int(attempt)))
    return left


def _watch(docker_host: str | None, instance: str, parent: int) -> None:
    waited: list[int] = [0]
    try:
        descriptor = os.pidfd_open(parent)
        if os.getppid() == parent:
            waited.append(descriptor)
            readable, _, _ = select.select(waited, [], [])
            if 0 in readable and os.read(0, 1) == _DONE:
                return
    except ProcessLookupError:
        pass  # the builder died before we looked
    deadline = time.monotonic() + _RETRY_SECONDS
    while time.monotonic() < deadline:
        try:
            # A container may be on its way into life: look until there is none left.
            if reap(docker_host, instance) == 0:
                return
        except ExternalFailure as error:
            sys.stderr.write(f"janitor: {error.message}\n")
        except FarmError as error:
            sys.stderr.write(f"janitor: {error.message}\n")
            return
        time.sleep(0.5)


if __name__ == "__main__":
    _watch(sys.argv[1] or None, sys.argv[2], int(sys.argv[3]))
