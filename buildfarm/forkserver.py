"""The farm's side of work in forked processes: asks the forking process of `forked.py`, awaits one answer.

Each process that asks has one such process beside it, started by its first question. It ends when its
socket does, whatever becomes of this process. A forked process has its own, unless its parent shares.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

_PACKAGES = Path(__file__).resolve().parents[1]
_WALL_SECONDS = 90.0
_START_SECONDS = 60.0  # Python and its imports, on a machine that has other things to do
_MAX_ANSWER = 32 * 1024 * 1024
_REAP_SECONDS = 5.0
_CHUNK = 1 << 16
_ENVIRONMENT = {"LC_ALL": "C.UTF-8"}


class ForkServer:
    """Starts the forking process and starts it again when it is gone; for any number of threads."""

    def __init__(
        self,
        module: str,
        packages: Path = _PACKAGES,
        wall_seconds: float = _WALL_SECONDS,
        environment: Mapping[str, str] = _ENVIRONMENT,
    ) -> None:
        self._module, self._packages, self._wall_seconds = module, packages, wall_seconds
        self._environment = dict(environment)
        self._is_shared = False
        self._requests: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self.forget()
        # What a forked process inherits belongs to its parent.
        os.register_at_fork(after_in_child=self._inherit)

    def share(self) -> None:
        """Start now, for every process that is forked from this one: each would pay for the imports.

        Questions of several processes do not meet: each brings the socket for its answer.
        """
        self._running()
        self._is_shared = True

    def _inherit(self) -> None:
        requests = self._requests
        self.forget()
        if self._is_shared:
            self._requests = requests

    def forget(self) -> None:
        """Start with none."""
        self._lock = threading.Lock()
        self._requests = self._process = None

    def ask(self, asked: bytes, *files: int, wall_seconds: float | None = None) -> bytes:
        """What the child answers, of at most two open files; nothing when it crashed or ran into a limit."""
        for _try in range(2):
            with self._handed_over(files) as answer, _child(answer) as is_there:
                if is_there:
                    return self._spoken(answer, asked, wall_seconds or self._wall_seconds)
            self.close()  # the forking process itself is gone
        return b""

    def close(self) -> None:
        """End the forking process; the next question starts another."""
        with self._lock:
            if self._requests is not None:
                self._requests.close()
            if self._process is not None:
                with self._process as process:
                    process.kill()
            self._requests = self._process = None

    @contextlib.contextmanager
    def _handed_over(self, files: Sequence[int]) -> Iterator[socket.socket]:
        ours, theirs = socket.socketpair()
        life, held = os.pipe()  # the child lives as long as `held` is open
        with ours, open(held, "wb"):
            with theirs, open(life, "rb"), contextlib.suppress(BrokenPipeError, ConnectionResetError):
                socket.send_fds(self._running(), [b"+"], [*files, theirs.fileno(), life])
            ours.settimeout(_START_SECONDS)
            yield ours

    def _running(self) -> socket.socket:
        with self._lock:
            if self._requests is None:
                self._requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
                with theirs:
                    self._process = subprocess.Popen(
                        [sys.executable, "-E", "-s", "-m", self._module],
                        stdin=theirs.fileno(),
                        stdout=subprocess.DEVNULL,
                        stderr=subprocess.DEVNULL,
                        cwd=self._packages,
                        env=self._environment,
                    )
            return self._requests

    def _spoken(self, answer: socket.socket, asked: bytes, wall_seconds: float) -> bytes:
        deadline = time.monotonic() + wall_seconds
        spoken = bytearray()
        with contextlib.suppress(OSError):
            answer.settimeout(wall_seconds)
            answer.sendall(asked)
            answer.shutdown(socket.SHUT_WR)
            while len(spoken) < _MAX_ANSWER:
                answer.settimeout(max(deadline - time.monotonic(), 0))
                chunk = answer.recv(_CHUNK)
                if not chunk:
                    return bytes(spoken)
                spoken += chunk
        return b""


@contextlib.contextmanager
def _child(answer: socket.socket) -> Iterator[bool]:
    """Whether there is a child at the other end; at the end of the block there is none, nor of its group."""
    descriptors: list[int] = []
    with contextlib.suppress(OSError):
        _hello, descriptors, _flags, _sender = socket.recv_fds(answer, 1, 1)
    try:
        yield bool(descriptors)
    finally:
        for handle in descriptors:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(handle, signal.SIGKILL)
            _await_reaped(handle)
            os.close(handle)


def _await_reaped(handle: int) -> None:
    """The forking process kills a child's group before it takes note of the child's end."""
    about = Path(f"/proc/self/fdinfo/{handle}")  # proc(5): a pidfd's says -1 from then on
    deadline = time.monotonic() + _REAP_SECONDS
    while "Pid:\t-1\n" not in about.read_text() and time.monotonic() < deadline:
        time.sleep(0.001)
