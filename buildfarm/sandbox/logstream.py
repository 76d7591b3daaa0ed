"""The log of one attempt on its way to the farm: whole lines, timed, bounded, never silently lost.

Whoever feeds it is blocked while the farm is away and the buffer is full, and so is the container.
Beyond the cap the stream is only counted, and its tail is kept: the error is nearly always there.
Segments hold lines of one phase and at most 64 KiB; offsets count UTF-8 bytes.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import get_args

from buildfarm import log
from buildfarm.errors import ExternalFailure, FarmError, Forbidden, StaleAttempt
from buildfarm.sandbox.firsterror import FirstError
from buildfarm.sandbox.port import PATIENCE_S, FarmPort
from buildfarm.sandbox.spec import Phase

_log = log.get(__name__)

#: How a script inside a container says that another phase begins: this and a phase name, as a line.
MARK = b"\x1ephase:"
OVER = b"\x1eover"

_ORDER = get_args(Phase)

SEGMENT_BYTES = 64 * 1024
LINE_BYTES = 8 * 1024
_TAIL_BYTES = 64 * 1024
_BUFFER_BYTES = 1024 * 1024
_SEND_SECONDS = 0.4
_NO_SPACE = "No space left on device"


@dataclass
class Seen:
    """What the lines of the current phase showed."""

    errors: FirstError = field(default_factory=FirstError)
    disk_full: bool = False


@dataclass
class _Pending:
    phase: Phase
    text: str
    size: int
    at_ms: int


class LogStream:
    """One attempt's log; `feed`, `say` and `enter` belong to one thread at a time.

    Args:
        farm: where segments go.
        limit_bytes: what the log may hold at the end, notices and tails included.
        on_phase: called when another phase begins, before its first line.
    """

    def __init__(
        self, farm: FarmPort, limit_bytes: int, on_phase: Callable[[Phase], None] = lambda _: None
    ) -> None:
        self._farm = farm
        self._on_phase = on_phase
        # Three containers at most may each leave a tail and a notice behind the cap.
        self._tail_bytes = min(_TAIL_BYTES, limit_bytes // 8)
        self._body_left = limit_bytes - 3 * (self._tail_bytes + 200)
        self._phase: Phase = "source"
        self._allowed: frozenset[Phase] = frozenset()
        self._partial = b""
        self._tail: deque[bytes] = deque()
        self._tail_size = 0
        self._omitted = 0
        self._lines = 0
        self._changed = threading.Condition()
        self._queue: deque[_Pending] = deque()
        self._queued = 0
        self._closing = False
        self._blocked = False
        self._last_output = time.monotonic()
        self._size = 0
        self.stale = False
        self.failure: FarmError | None = None
        self.seen: dict[Phase, Seen] = {}
        self._thread = threading.Thread(target=self._send_all, daemon=True)
        self._thread.start()

    @property
    def phase(self) -> Phase:
        """The phase that lines belong to now."""
        return self._phase

    def idle_seconds(self) -> float:
        """Seconds without output; time in which the farm made us wait does not count."""
        return 0.0 if self._blocked else time.monotonic() - self._last_output

    def enter(self, phase: Phase, allowed: frozenset[Phase] = frozenset()) -> None:
        """Begin a phase; marks in the stream may later switch to others of `allowed`, onwards only.

        Whoever writes into the stream can forge a mark; none leads back into a phase that has another
        to blame.
        """
        self._allowed = allowed
        self._switch(phase)
        self._last_output = time.monotonic()

    def say(self, text: str) -> int:
        """Add one line of the farm's own, and return its number; it is welcome beyond the cap as well."""
        self._put(" ".join(text.splitlines()) + "\n", reserved=True)
        return self._lines

    def feed(self, data: bytes) -> None:
        """Take raw output; blocks while the farm cannot be reached and the buffer is full."""
        self._last_output = time.monotonic()
        if self._body_left <= 0:
            self._keep_tail(self._partial + data)
            self._partial = b""
            return
        lines = (self._partial + data).split(b"\n")
        self._partial = lines.pop()
        while len(self._partial) > LINE_BYTES:
            cut = _boundary(self._partial, LINE_BYTES)
            lines.append(self._partial[:cut])
            self._partial = self._partial[cut:]
        for number, line in enumerate(lines):
            if self._body_left <= 0:
                self._keep_tail(b"\n".join([*lines[number:], self._partial]))
                self._partial = b""
                return
            self._line(line)

    def finish_stretch(self) -> None:
        """A container has ended: give out its unfinished line, or the notice and the tail."""
        if self._partial:
            self._line(self._partial)
            self._partial = b""
        if not self._tail_size:
            return
        kept = b"".join(self._tail)[-self._tail_bytes :]
        if len(kept) < self._tail_size and (start := kept.find(b"\n")) >= 0:
            kept = kept[start + 1 :]  # begin with a whole line
        self._omitted += self._tail_size - len(kept)
        self._tail.clear()
        self._tail_size = 0
        if self._omitted:
            self._put(f"... {self._omitted} bytes omitted ...\n", reserved=True)
        self._omitted = 0
        for line in kept.split(b"\n"):
            if line:
                self._line(line, reserved=True)

    def close(self, timeout: float = PATIENCE_S) -> None:
        """Send what is left.

        Raises:
            ExternalFailure: the farm did not take all of it in `timeout` seconds.
        """
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(timeout)
        if self._thread.is_alive():
            with self._changed:
                self._give_up(ExternalFailure("The farm did not take the log in time."))
        if self.failure is not None:
            raise self.failure

    def _switch(self, phase: Phase) -> None:
        self._phase = phase
        self.seen.setdefault(phase, Seen())
        self._on_phase(phase)

    def _keep_tail(self, data: bytes) -> None:
        self._tail.append(data)
        self._tail_size += len(data)
        while self._tail_size - len(self._tail[0]) >= self._tail_bytes:
            self._tail_size -= len(self._tail[0])
            self._omitted += len(self._tail.popleft())

    def _line(self, line: bytes, *, reserved: bool = False) -> None:
        if line == OVER:
            return
        if line.startswith(MARK):
            for phase in self._allowed:
                if line == MARK + phase.encode():
                    at = _ORDER.index(phase)
                    self._allowed = frozenset(later for later in self._allowed if _ORDER.index(later) > at)
                    self._switch(phase)
                    return
        while len(line) > LINE_BYTES:
            cut = _boundary(line, LINE_BYTES)
            self._line(line[:cut], reserved=reserved)
            line = line[cut:]
        text = line.decode(errors="replace").replace("\0", "").removesuffix("\r")
        seen = self.seen[self._phase]
        seen.errors.feed(text, self._lines + 1)
        seen.disk_full = seen.disk_full or _NO_SPACE in text
        if len(text) * 3 > LINE_BYTES and len(text.encode()) > LINE_BYTES:
            # Replaced bytes grew; three bytes at most for each character that was one of them.
            for start in range(0, len(text), LINE_BYTES // 3):
                self._put(text[start : start + LINE_BYTES // 3] + "\n", reserved=reserved)
        else:
            self._put(text + "\n", reserved=reserved)

    def _put(self, text: str, *, reserved: bool) -> None:
        encoded = len(text.encode())
        if not reserved:
            self._body_left -= encoded
        pending = _Pending(self._phase, text, encoded, time.time_ns() // 1_000_000)
        with self._changed:
            while self._queued > _BUFFER_BYTES and not self._gone():
                self._blocked = True
                self._changed.wait(1.0)
            if self._blocked:
                self._blocked = False
                self._last_output = time.monotonic()
            if self._gone():
                return
            self._queue.append(pending)
            self._queued += encoded
            self._lines += 1
            if self._queued >= SEGMENT_BYTES:
                self._changed.notify_all()

    def _gone(self) -> bool:
        return self.stale or self.failure is not None

    def _give_up(self, failure: FarmError) -> None:
        self.failure = self.failure or failure
        self._queue.clear()
        self._queued = 0
        self._changed.notify_all()

    def _send_all(self) -> None:
        while True:
            with self._changed:
                if not self._closing and self._queued < SEGMENT_BYTES:
                    self._changed.wait(_SEND_SECONDS)
                if self._gone():
                    return
                segment = self._segment()
                if not segment:
                    if self._closing:
                        return
                    continue
            self._send(segment)
            with self._changed:
                self._queued -= sum(pending.size for pending in segment)
                self._changed.notify_all()

    def _segment(self) -> list[_Pending]:
        """The longest run of lines of one phase that one segment holds, taken from the queue."""
        segment: list[_Pending] = []
        size = 0
        while self._queue and size + self._queue[0].size <= SEGMENT_BYTES:
            if segment and self._queue[0].phase != segment[0].phase:
                break
            size += self._queue[0].size
            segment.append(self._queue.popleft())
        return segment

    def _send(self, segment: list[_Pending]) -> None:
        text = "".join(pending.text for pending in segment)
        times = [pending.at_ms for pending in segment]
        expected = self._size + sum(pending.size for pending in segment)
        started = time.monotonic()
        pause = 0.2
        while not self._gone():
            try:
                size = self._farm.append_log(self._size, segment[0].phase, text, times)
            except StaleAttempt:
                with self._changed:
                    self.stale = True
                    self._changed.notify_all()
                return
            except Forbidden as error:  # it would be refused again
                with self._changed:
                    self._give_up(ExternalFailure(f"The farm refused the log: {error.message}"))
                return
            except Exception as error:  # noqa: BLE001 - whatever it is, the log is sent again
                if time.monotonic() - started > PATIENCE_S:
                    with self._changed:
                        self._give_up(ExternalFailure("The farm did not take the log for too long."))
                    return
                _log.warning("log_not_taken", error=str(error), offset=self._size)
                time.sleep(pause)
                pause = min(pause * 2, 5.0)
                continue
            if size != expected:
                with self._changed:
                    self._give_up(
                        ExternalFailure("The farm's log and ours do not agree.", offset=self._size, size=size)
                    )
                return
            self._size = size
            return


def _boundary(data: bytes, at: int) -> int:
    """The largest cut up to `at` that does not split a UTF-8 character."""
    cut = at
    while cut > at - 4 and data[cut] & 0xC0 == 0x80:
        cut -= 1
    return cut if data[cut] & 0xC0 != 0x80 else at
