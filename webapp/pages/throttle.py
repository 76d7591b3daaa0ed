"""A limit on wrong passwords, for each name and address; kept in this process alone."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable

_KEYS = 10_000


class Throttle:
    """Counts failures in a sliding window; nobody is made to wait inside a request."""

    def __init__(
        self, failures: int = 10, window_s: float = 600.0, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._most, self._window_s, self._monotonic = failures, window_s, monotonic
        self._failed: OrderedDict[tuple[str, str], deque[float]] = OrderedDict()
        self._lock = threading.Lock()

    def wait_s(self, name: str, address: str) -> int:
        """Whole seconds until the next try is taken; 0 when it is now."""
        with self._lock:
            times = self._live((name, address))
            if len(times) < self._most:
                return 0
            return int(times[0] + self._window_s - self._monotonic()) + 1

    def failed(self, name: str, address: str) -> None:
        """Note a wrong password."""
        with self._lock:
            key = (name, address)
            times = self._live(key)
            times.append(self._monotonic())
            self._failed[key] = times
            self._failed.move_to_end(key)
            while len(self._failed) > _KEYS:
                self._failed.popitem(last=False)

    def forget(self, name: str, address: str) -> None:
        """The right password came."""
        with self._lock:
            self._failed.pop((name, address), None)

    def _live(self, key: tuple[str, str]) -> deque[float]:
        times = self._failed.get(key, deque())
        while times and times[0] <= self._monotonic() - self._window_s:
            times.popleft()
        return times
