"""The guard: ends what is left of a process tree whose supervisor was killed.

A supervisor that gets SIGKILL cannot end anything. The kernel ends its direct children
(`die_with_parent`), but not theirs. The guard lives in a session of its own and reads lines from the
supervisor: `+ID` for a session that has begun, `-ID` for one that is over. The pipe ends when the
supervisor does, whatever the reason; then the guard kills the sessions still open, and ends.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from collections.abc import Iterable

from buildfarm.processes import kill_session


def watch(lines: Iterable[str]) -> set[int]:
    """Follow the supervisor's lines to their end; the sessions that are open then.

    A line that a dying supervisor wrote in part is skipped.
    """
    sessions: set[int] = set()
    for line in lines:
        sign, number = line[:1], line[1:-1]
        if not line.endswith("\n") or not number.isdigit():
            continue
        if sign == "+":
            sessions.add(int(number))
        elif sign == "-":
            sessions.discard(int(number))
    return sessions


class Guard:
    """The supervisor's end of the pipe to its guard process."""

    def __init__(self) -> None:
        self._open: set[int] = set()
        self._process = self._start()

    @property
    def pid(self) -> int:
        """Process id of the guard."""
        return self._process.pid

    def cover(self, session: int) -> None:
        """Kill this session should the calling process end without a word."""
        self._open.add(session)
        self._tell(f"+{session}\n")

    def release(self, session: int) -> None:
        """This session is over and its id may be given to others."""
        self._open.discard(session)
        self._tell(f"-{session}\n")

    def revive(self) -> bool:
        """Start the guard anew if somebody killed it; whether that was so."""
        if self._process.poll() is None:
            return False
        self._close_pipe()
        self._process = self._start()
        for session in self._open:
            self._tell(f"+{session}\n")
        return True

    def close(self) -> None:
        """End the guard, and with it every session not released."""
        self._close_pipe()
        self._process.wait()

    def _close_pipe(self) -> None:
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()

    def _start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "buildfarm.cli.guard"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
            text=True,
            bufsize=1,
        )

    def _tell(self, line: str) -> None:
        if self._process.stdin is not None:
            # A dead guard is started anew, with the whole list, by the next `revive()`.
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.write(line)


def main() -> None:
    """The guard process: only the end of its input ends it."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    for session in watch(sys.stdin):
        kill_session(session)


if __name__ == "__main__":
    main()
