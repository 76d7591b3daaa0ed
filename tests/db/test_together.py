"""Writes of many threads at once: committed together, each for itself where one of them fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event, Lock
from typing import Any

import pytest
from sqlalchemy import event, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from buildfarm.db.engine import Database
from buildfarm.errors import ExternalFailure
from buildfarm.index.model import Channel
from tests.waiting import wait_for


def adding(name: str, rank: int) -> Callable[[Session], str]:
    def add(session: Session) -> str:
        session.add(Channel(name=name, rank=rank, public=False))
        session.flush()
        return name

    return add


def names(database: Database) -> list[str]:
    with database.read() as session:
        return list(session.scalars(select(Channel.name).order_by(Channel.name)))


class Crowd:
    """Threads that write while one of them is kept in its transaction until all the others have asked."""

    def __init__(self, database: Database) -> None:
        self.database, self.commits = database, 0
        self.pool = ThreadPoolExecutor(20)
        event.listen(database.engine, "commit", self._count)

    def _count(self, _connection: object) -> None:
        self.commits += 1

    def write(self, works: list[Callable[[Session], str]]) -> list[Future[str]]:
        has_begun, may_go, lock, asked = Event(), Event(), Lock(), 0

        def first(session: Session) -> str:
            has_begun.set()
            assert may_go.wait(30)
            return adding("first", 0)(session)

        def ask(work: Callable[[Session], str]) -> str:
            nonlocal asked
            with lock:
                asked += 1
            return self.database.write(work)

        calls = [self.pool.submit(self.database.write, first)]
        assert has_begun.wait(30)
        calls += [self.pool.submit(ask, work) for work in works]
        wait_for(lambda: asked == len(works))
        may_go.set()
        return calls


@pytest.fixture
def crowd(database: Database) -> Iterator[Crowd]:
    made = Crowd(database)
    yield made
    made.pool.shutdown()


def test_each_gets_what_its_work_returns_once_it_is_committed(crowd: Crowd, database: Database) -> None:
    wanted = [f"c{number:02}" for number in range(12)]
    calls = crowd.write([adding(name, rank) for rank, name in enumerate(wanted, 1)])
    assert [call.result(30) for call in calls] == ["first", *wanted]
    assert names(database) == [*wanted, "first"]


def test_on_sqlite_what_comes_during_a_write_is_committed_as_one(sqlite_url: str) -> None:
    database = Database(sqlite_url)
    crowd = Crowd(database)
    for call in crowd.write([adding(f"c{number}", number) for number in range(1, 13)]):
        call.result(30)
    # The one that was at it, and, where a thread was late to ask, one more than the one for the others.
    assert crowd.commits <= 3
    crowd.pool.shutdown()
    database.close()


def test_one_that_fails_spoils_no_other(crowd: Crowd, database: Database) -> None:
    database.write(adding("taken", 9))
    first, a, twice, b = crowd.write([adding("a", 1), adding("taken", 2), adding("b", 3)])
    with pytest.raises(IntegrityError):
        twice.result(30)
    assert (first.result(30), a.result(30), b.result(30)) == ("first", "a", "b")
    assert names(database) == ["a", "b", "first", "taken"]


def test_an_outage_is_told_to_all_who_asked(database: Database) -> None:
    def away(_session: Session) -> Any:
        raise ExternalFailure("away", code="database.unreachable")

    crowd = Crowd(database)
    first, *others = crowd.write([away, away])
    assert first.result(30) == "first"
    for call in others:
        with pytest.raises(ExternalFailure):
            call.result(30)
    crowd.pool.shutdown()


def test_who_is_ended_while_it_writes_for_others_keeps_none_of_them_waiting(sqlite_url: str) -> None:
    def end(_session: Session) -> str:
        raise SystemExit(1)

    database = Database(sqlite_url)
    crowd = Crowd(database)
    calls = crowd.write([end, adding("a", 1), adding("b", 2)])
    told = [call.exception(30) for call in calls]
    assert sum(isinstance(one, SystemExit) for one in told) == 1, "the thread that wrote"
    assert {one.code for one in told if isinstance(one, ExternalFailure)} <= {"database.interrupted"}
    written = [call.result() for call, why in zip(calls, told, strict=True) if why is None]
    assert database.write(adding("later", 3)) == "later"
    assert names(database) == sorted([*written, "later"])
    crowd.pool.shutdown()
    database.close()
