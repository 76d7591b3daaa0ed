"""Engines and sessions.

One function, one transaction: `Database.begin()` is the unit of work. It commits when the block ends
well and runs the `before_commit` hook last, so that whoever needs the shortest lock (the journal)
takes it last; `after_commit` learns that all went well. On SQLite every writing transaction is
`BEGIN IMMEDIATE`: a deferred one that reads first and writes later gets SQLITE_BUSY at once, without the
busy timeout.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session, sessionmaker

from buildfarm.db.together import Together
from buildfarm.db.types import Base
from buildfarm.errors import EnvironmentProblem, ExternalFailure, StorageFull

Result = TypeVar("Result")

#: How long SQLite's lock is waited for, and how long it is at most before it is looked for again.
_WAIT_S, _LOOK_MS = 10.0, 2


class Database:
    """The farm's database: writing transactions by `begin()`, reading ones by `read()`."""

    def __init__(
        self,
        url: str,
        *,
        before_commit: Callable[[Session], None] | None = None,
        after_commit: Callable[[Session], None] | None = None,
    ) -> None:
        self.url = url
        self._before_commit, self._after_commit = before_commit, after_commit
        self._writer = _engine(url, immediate=True)
        self._reader = _engine(url, immediate=False)
        self._write_session = sessionmaker(self._writer, expire_on_commit=False)
        self._read_session = sessionmaker(self._reader, expire_on_commit=False)
        self._together = Together(self.begin)

    @contextmanager
    def begin(self) -> Iterator[Session]:
        """One writing transaction; committed at the end of the block, rolled back by an exception.

        Raises:
            ExternalFailure: `database.unreachable`; nothing was written.
        """
        with self._write_session() as session:
            try:
                yield session
                session.flush()
                if self._before_commit:
                    self._before_commit(session)
                session.commit()
            except (DBAPIError, PoolTimeout) as err:
                raise _translated(err) from err
            if self._after_commit:
                self._after_commit(session)

    def write(self, work: Callable[[Session], Result]) -> Result:
        """What the work makes of a writing transaction, committed.

        On SQLite it may share the transaction with what other threads ask for at the same moment. What one
        of them raises undoes all: each is then done again, alone.

        Raises:
            ExternalFailure: `database.unreachable`, nothing was written; `database.interrupted`, the process
                is being ended, and it may have been.
        """
        if not self.spans_hosts:
            return self._together.write(work)
        with self.begin() as session:
            return work(session)

    @contextmanager
    def read(self) -> Iterator[Session]:
        """One reading transaction; never takes the write lock."""
        with self._read_session() as session:
            try:
                yield session
            except (DBAPIError, PoolTimeout) as err:
                raise _translated(err) from err

    @property
    def spans_hosts(self) -> bool:
        """Whether processes of other hosts may write to it as well."""
        return self.engine.dialect.name != "sqlite"

    @property
    def engine(self) -> Engine:
        """The engine of writing transactions, for migrations."""
        return self._writer

    def answers(self) -> bool:
        """Whether a query goes through now."""
        try:
            with self._reader.connect() as connection:
                connection.execute(text("SELECT 1"))
        except SQLAlchemyError:
            return False
        return True

    def rehearse(self) -> None:
        """Ask every table for a row that it has not, once for readers and once for writers.

        What SQLAlchemy makes of tables and queries at their first use takes longer than most work does;
        processes that are forked from this one find it made. No connection is left open.
        """
        for unit in (self.read, self.begin):
            with unit() as session:
                for mapper in Base.registry.mappers:
                    absent = ("" if column.type.python_type is str else 0 for column in mapper.primary_key)
                    session.get(mapper.class_, tuple(absent))
        self.close()

    def close(self) -> None:
        """Give all connections back."""
        self._writer.dispose()
        self._reader.dispose()


def _translated(err: DBAPIError | PoolTimeout) -> Exception:
    if isinstance(err, DBAPIError) and _is_full(err.orig):
        return StorageFull(
            "The database's disk is full.", code="database.full", hint="Its operator must make room."
        )
    # Constraint violations are answers that the use case reads; only lost connections are an outage.
    lost = (
        isinstance(err, PoolTimeout) or err.connection_invalidated or type(err).__name__ == "OperationalError"
    )
    return ExternalFailure("The database does not answer.", code="database.unreachable") if lost else err


def _is_full(err: BaseException | None) -> bool:
    # SQLite's SQLITE_FULL; PostgreSQL's disk_full.
    return getattr(err, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL or (
        getattr(err, "sqlstate", None) == "53100"
    )


def _engine(url: str, *, immediate: bool) -> Engine:
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        return create_engine(url, pool_pre_ping=True, pool_size=10, max_overflow=20)
    path = Path(parsed.database or "")
    _refuse_network_file_system(path.parent)
    engine = create_engine(url, pool_size=10, max_overflow=40, connect_args={"timeout": _WAIT_S})

    @event.listens_for(engine, "connect")
    def connected(connection: Any, _record: object) -> None:  # noqa: ANN401
        connection.isolation_level = None
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")
        if immediate:
            connection.execute(f"PRAGMA busy_timeout={_LOOK_MS}")

    @event.listens_for(engine, "begin")
    def begun(connection: Connection) -> None:
        if immediate:
            _wait_to_write(connection)
        else:
            connection.exec_driver_sql("BEGIN")

    return engine


def _wait_to_write(connection: Connection) -> None:
    """Begin a writing transaction as soon as no other one is under way.

    SQLite alone would sleep for up to a tenth of a second between two looks: where others write one after
    the other, it would find the lock taken again and again.
    """
    deadline = time.monotonic() + _WAIT_S
    own: sqlite3.Connection = connection.connection.dbapi_connection  # type: ignore[assignment]
    while time.monotonic() < deadline:
        try:
            own.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as err:
            if err.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                break
        else:
            return
    # Once more where SQLAlchemy sees what is wrong.
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _refuse_network_file_system(folder: Path) -> None:
    try:
        with open("/proc/self/mountinfo") as lines:
            mounts = {fields[4]: fields[fields.index("-") + 1] for fields in map(str.split, lines)}
    except OSError:
        return
    probe = os.path.realpath(folder)
    while probe not in mounts and probe != "/":
        probe = os.path.dirname(probe)
    kind = mounts.get(probe, "")
    if kind.startswith(("nfs", "cifs", "smb", "9p", "fuse.sshfs")):
        raise EnvironmentProblem(
            f"SQLite cannot share {folder} between processes: it is on a network file system ({kind}).",
            code="database.network_file_system",
            hint="Use a local folder, or set database to a PostgreSQL URL.",
        )
