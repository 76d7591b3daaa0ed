"""One piece of work for everybody who wants the same at the same moment, within a process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Generic, TypeVar

Result = TypeVar("Result")


class Shared(Generic[Result]):
    """Work by key: who comes while it is done waits for it, who comes later has it done anew."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._under_way: dict[Hashable, Future[Result]] = {}

    def do(self, key: Hashable, work: Callable[[], Result]) -> Result:
        """What `work` gives, or raises: a call of it that ends after this one began."""
        mine: Future[Result] = Future()
        with self._lock:
            future = self._under_way.setdefault(key, mine)
        if future is not mine:
            return future.result()
        try:
            result = work()
        except BaseException as err:
            self._end(key)
            mine.set_exception(err)
            raise
        self._end(key)  # first, so that whoever asks from now on asks anew
        mine.set_result(result)
        return result

    def _end(self, key: Hashable) -> None:
        with self._lock:
            del self._under_way[key]
