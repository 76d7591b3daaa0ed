"""Running one untrusted child: own session, bounded output, a deadline, and nobody left behind."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

_MAX_STDOUT = 64 << 20
_MAX_STDERR = 64 << 10


@dataclass(frozen=True)
class Ended:
    """How a child ended: exit status (negative: signal), what it wrote, whether it had to be killed."""

    status: int
    stdout: bytes
    stderr: bytes
    timed_out: bool


def run_supervised(
    command: Sequence[str],
    *,
    environment: Mapping[str, str],
    stdin: bytes,
    seconds: float,
    pass_fds: Sequence[int] = (),
) -> Ended:
    """Run a command in a session of its own and kill its whole process group when it is over.

    Args:
        command: Program and arguments.
        environment: All of its environment.
        stdin: What it reads; held in memory, seen by no other process.
        seconds: How long it may take.
        pass_fds: Descriptors it inherits.
    """
    deadline = time.monotonic() + seconds
    fed = os.memfd_create("order")
    try:
        with os.fdopen(os.dup(fed), "wb") as writer:
            writer.write(stdin)
        os.lseek(fed, 0, os.SEEK_SET)
        child = subprocess.Popen(
            command,
            stdin=fed,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=dict(environment),
            cwd="/",
            pass_fds=pass_fds,
            start_new_session=True,
        )
    finally:
        os.close(fed)
    with child:
        try:
            stdout, stderr, is_whole = _gather(child, deadline)
            timed_out = not (is_whole and _has_ended(child.pid, deadline))
        finally:
            # Not reaped before this, so its number still names its group and no other.
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()
    return Ended(child.returncode, stdout, stderr, timed_out)


def _has_ended(pid: int, deadline: float) -> bool:
    while os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.005)
    return True


def _gather(child: subprocess.Popen[bytes], deadline: float) -> tuple[bytes, bytes, bool]:
    """Both streams up to their bounds, and whether both ended before the deadline."""
    collected = {child.stdout: bytearray(), child.stderr: bytearray()}
    bounds = {child.stdout: _MAX_STDOUT, child.stderr: _MAX_STDERR}
    with selectors.DefaultSelector() as selector:
        for stream in collected:
            selector.register(stream, selectors.EVENT_READ)  # type: ignore[arg-type]
        while selector.get_map():
            ready = selector.select(max(0.0, deadline - time.monotonic()))
            if not ready:
                break
            for key, _ in ready:
                chunk = os.read(key.fd, 1 << 16)
                if not chunk:
                    selector.unregister(key.fileobj)
                kept = collected[key.fileobj]  # type: ignore[index]
                kept += chunk[: bounds[key.fileobj] - len(kept)]  # type: ignore[index]
        is_whole = not selector.get_map()
    return bytes(collected[child.stdout]), bytes(collected[child.stderr]), is_whole
