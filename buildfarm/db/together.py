"""Writes that threads of one process ask for at the same moment, committed together.

SQLite has one writer at a time, and each commit waits for the disk: of a burst of small writes most of the
time goes into waiting for the lock and for the disk, and one commit for all of them has to wait but once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from typing import Any, TypeVar

from sqlalchemy.orm import Session

from buildfarm.errors import ExternalFailure

Result = TypeVar("Result")


class _Asked(Future[Any]):
    """One write, and what will have become of it."""

    def __init__(self, work: Callable[[Session], Any]) -> None:
        super().__init__()
        self.work = work


class Together:
    """One thread at a time writes, for itself and for all that came while the one before it wrote."""

    def __init__(self, begin: Callable[[], AbstractContextManager[Session]]) -> None:
        self._begin = begin
        self._written = threading.Condition()
        self._is_writing = False
        self._waiting: list[_Asked] = []

    def write(self, work: Callable[[Session], Result]) -> Result:
        """What the work returns, once it is committed, or what it or its commit raises.

        Raises:
            ExternalFailure: `database.interrupted`, the thread that wrote for this one was ended.
        """
        asked = _Asked(work)
        with self._written:
            self._waiting.append(asked)
            self._written.wait_for(lambda: asked.done() or not self._is_writing)
            if not asked.done():
                self._is_writing = True
                all_asked, self._waiting = self._waiting, []
        if not asked.done():
            try:
                self._write(all_asked)
            finally:
                with self._written:
                    self._is_writing = False
                    _let_go([one for one in all_asked if not one.done()])
                    self._written.notify_all()
        result: Result = asked.result()
        return result

    def _write(self, all_asked: Sequence[_Asked]) -> None:
        try:
            with self._begin() as session:
                results = [asked.work(session) for asked in all_asked]
        except Exception as err:  # noqa: BLE001 - whoever asked for it gets it
            if len(all_asked) > 1 and not isinstance(err, ExternalFailure):
                # One of them failed, and nothing was written: each for itself, then.
                for asked in all_asked:
                    self._write([asked])
                return
            for asked in all_asked:
                asked.set_exception(err)
        else:
            for asked, result in zip(all_asked, results, strict=True):
                asked.set_result(result)


def _let_go(left: Sequence[_Asked]) -> None:
    """Tell those for whom a thread wrote that was ended meanwhile, as by a signal or a server's timeout.

    Nobody writes it for them again: whether it was committed is not known.
    """
    for asked in left:
        asked.set_exception(
            ExternalFailure("The write was interrupted.", code="database.interrupted", hint="Try it again.")
        )
