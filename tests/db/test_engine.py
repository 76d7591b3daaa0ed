from __future__ import annotations

import multiprocessing
import threading
import time
from pathlib import Path

import pytest
from sqlalchemy import create_engine, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.sql.compiler import SQLCompiler

from buildfarm import clock
from buildfarm.db import engine
from buildfarm.db.engine import Database
from buildfarm.errors import ExternalFailure, StorageFull
from buildfarm.index.model import Channel, Follower
from buildfarm.journal.model import JournalRow
from buildfarm.journal.record import append_recorded, record, size


def test_what_raises_leaves_no_trace(database: Database) -> None:
    def half() -> None:
        with database.begin() as session:
            session.add(Channel(name="dev", rank=0, public=False))
            record(session, "test")
            session.flush()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        half()
    with database.read() as session:
        assert session.get(Channel, "dev") is None
        assert size(session) == 0


def test_times_come_back_aware_and_in_utc(database: Database) -> None:
    moment = clock.now()
    with database.begin() as session:
        session.add(Follower(node="one", serial=1, seen_at=moment))
    with database.read() as session:
        assert session.get_one(Follower, "one").seen_at == moment
        assert session.scalars(select(Follower).where(Follower.seen_at <= moment)).one().node == "one"


def test_a_time_without_a_zone_is_a_bug(database: Database) -> None:
    with pytest.raises(Exception, match="naive"), database.begin() as session:
        session.add(Follower(node="one", serial=1, seen_at=clock.now().replace(tzinfo=None)))


def test_a_broken_rule_is_an_answer_and_not_an_outage(database: Database) -> None:
    with database.begin() as session:
        session.add(Channel(name="x", rank=0, public=False))
    with pytest.raises(IntegrityError), database.begin() as session:
        session.execute(text("INSERT INTO channel (name, rank, public) VALUES ('x', 1, true)"))


def test_readers_go_on_while_a_writer_holds_its_transaction(database: Database) -> None:
    with database.begin() as session:
        session.add(Channel(name="dev", rank=0, public=False))
        session.flush()
        with database.read() as reader:
            assert reader.get(Channel, "dev") is None


def test_a_writer_that_reads_first_is_never_refused(database: Database) -> None:
    """On SQLite a deferred transaction that reads and then writes fails at once when another wrote."""
    with database.begin() as session:
        session.add(Follower(node="n", serial=0, seen_at=clock.now()))
    errors: list[Exception] = []

    def work() -> None:
        try:
            for _ in range(15):
                with database.begin() as session:
                    row = session.get_one(Follower, "n", with_for_update=True)
                    row.serial += 1
        except Exception as err:  # noqa: BLE001
            errors.append(err)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert errors == []
    with database.read() as session:
        assert session.get_one(Follower, "n").serial == 60


def test_an_outage_is_said_so_and_answers_is_false(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'no' / 'folder' / 'farm.db'}")
    assert not database.answers()
    with pytest.raises(ExternalFailure) as caught, database.read() as session:
        session.execute(text("SELECT 1"))
    assert caught.value.code == "database.unreachable"
    database.close()


def test_a_lost_server_is_an_outage(postgres: object) -> None:
    url = f"postgresql+psycopg://farm@/nothing?host={postgres.folder}/away"  # type: ignore[attr-defined]
    database = Database(url)
    assert not database.answers()
    with pytest.raises(ExternalFailure), database.begin() as session:
        session.execute(text("SELECT 1"))
    database.close()


def test_an_exhausted_pool_is_an_outage_too(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    small = {"pool_size": 1, "max_overflow": 0, "pool_timeout": 0.05}
    monkeypatch.setattr(engine, "create_engine", lambda url, **options: create_engine(url, **options | small))
    database = Database(sqlite_url)
    with database.read() as first:
        first.execute(text("SELECT 1"))
        with pytest.raises(ExternalFailure), database.read() as second:
            second.execute(text("SELECT 1"))
    database.close()


def _append(url: str, number: int, count: int) -> None:
    database = Database(url, before_commit=append_recorded)
    for index in range(count):
        with database.begin() as session:
            for part in range(1 + index % 3):
                record(session, "test", project=f"p{number}", index=index, part=part)
    database.close()


def test_serials_are_dense_under_writers_in_four_processes(database_url: str) -> None:
    started = time.monotonic()
    spawn = multiprocessing.get_context("spawn")
    processes = [spawn.Process(target=_append, args=(database_url, number, 12)) for number in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0, 0, 0, 0], time.monotonic() - started
    database = Database(database_url)
    with database.read() as session:
        serials = list(session.scalars(select(JournalRow.serial).order_by(JournalRow.serial)))
        assert serials == list(range(1, 4 * 24 + 1))
        assert size(session) == len(serials)
    database.close()


def test_a_full_disk_is_no_outage_but_said_to_be_what_it_is(sqlite_url):
    database = Database(sqlite_url)
    limit = "PRAGMA max_page_count=1"  # SQLite takes the present size then, which is the smallest

    def write() -> None:
        with database.begin() as session:
            for statement in (limit, "CREATE TABLE big (x)", "INSERT INTO big VALUES (zeroblob(10000000))"):
                session.execute(text(statement))

    with pytest.raises(StorageFull) as full:
        write()
    assert full.value.code == "database.full"
    database.close()


def test_what_was_rehearsed_is_compiled_no_more(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    database.rehearse()
    compiled = []
    compile_it = SQLCompiler.__init__
    monkeypatch.setattr(
        SQLCompiler, "__init__", lambda self, *a, **kw: (compiled.append(a), compile_it(self, *a, **kw))[1]
    )
    for unit in (database.read, database.begin):
        with unit() as session:
            assert session.get(Channel, "dev") is None
    assert not compiled
    with database.read() as session:
        session.scalars(select(Follower.node)).all()
    assert compiled
