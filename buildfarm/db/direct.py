"""Asking and writing past the unit of work, for what every push does.

A flush looks through the session, sorts what it finds and prepares each statement anew: it takes longer than
the inserts themselves, and on SQLite nobody else writes meanwhile.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, cast

from sqlalchemy import CursorResult, Executable, Insert, Table, inspect
from sqlalchemy import insert as insert_into
from sqlalchemy.orm import InstanceState, Session, make_transient_to_detached

from buildfarm.db.types import Base


def ask(session: Session, query: Executable, values: Mapping[str, Any]) -> CursorResult[Any]:
    """Run a query for columns; it does not see what the session has yet to flush."""
    return session.connection().execute(query, values)


def insert(session: Session, *rows: Base) -> None:
    """Write new rows, in this order; then they are the session's as if it had loaded them.

    What they refer to is written already, and named by id: relationships are not looked at. Columns that were
    not set are read when they are asked for.
    """
    connection = session.connection()
    for row in rows:
        state: InstanceState[Any] = inspect(row)
        state.mapper.dispatch.before_insert(state.mapper, connection, state)
        statement, columns = _insert(type(row))
        connection.execute(statement, {name: value for name, value in vars(row).items() if name in columns})
        make_transient_to_detached(row)
    session.add_all(rows)


@cache
def _insert(kind: type[Base]) -> tuple[Insert, frozenset[str]]:
    table = kind.__table__
    return insert_into(cast("Table", table)), frozenset(table.columns.keys())
