from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
import rfc8785
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from buildfarm.db.engine import Database
from buildfarm.errors import NotFound
from buildfarm.journal import merkle, show
from buildfarm.journal.log import head, store_checkpoint
from buildfarm.journal.model import JournalRow
from buildfarm.journal.record import record, size

VALUES = st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(max_size=20)
FACTS = st.dictionaries(
    st.text("abcxyz", min_size=1), VALUES | st.lists(st.text(max_size=5), max_size=3), max_size=4
)


def root_from_leaves(leaves: list[bytes]) -> bytes:
    """RFC 9162 section 2.1.1, by its definition and nothing of ours."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\0" + leaves[0]).digest()
    split = 1 << (len(leaves) - 1).bit_length() - 1
    return hashlib.sha256(
        b"\1" + root_from_leaves(leaves[:split]) + root_from_leaves(leaves[split:])
    ).digest()


def rows_of(database: Database) -> list[JournalRow]:
    with database.read() as session:
        return list(session.scalars(select(JournalRow).order_by(JournalRow.serial)))


def test_a_transaction_without_changes_moves_nothing(database: Database) -> None:
    with database.begin():
        pass
    with database.read() as session:
        assert size(session) == 0
        assert head(session).root == merkle.EMPTY_ROOT


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(transactions=st.lists(st.lists(FACTS, max_size=4), min_size=1, max_size=5))
def test_the_root_of_the_log_is_that_of_its_rows(
    sqlite_database: Database, transactions: list[list[dict[str, Any]]]
) -> None:
    for facts in transactions:
        with sqlite_database.begin() as session:
            for one in facts:
                record(session, "test", project="p", **one)
    rows = rows_of(sqlite_database)
    assert [row.serial for row in rows] == list(range(1, len(rows) + 1))
    with sqlite_database.read() as session:
        log = head(session)
        assert (log.size, log.root) == (len(rows), root_from_leaves([row.leaf for row in rows]))
        for row in rows:
            assert row.body.encode() == row.leaf == rfc8785.dumps(json.loads(row.body))
            leaf = merkle.leaf_hash(row.leaf)
            merkle.verify_inclusion(leaf, row.serial - 1, log.size, log.inclusion(row.serial - 1), log.root)


def test_every_earlier_state_is_a_beginning_of_the_later_one(database: Database) -> None:
    roots = []
    for number in range(9):
        with database.begin() as session:
            record(session, "test", number=number)
        with database.read() as session:
            roots.append(head(session).root)
    with database.read() as session:
        log = head(session)
        for old in range(1, log.size):
            merkle.verify_consistency(old, log.size, roots[old - 1], log.root, log.consistency(old))


def test_a_row_may_carry_another_leaf_than_its_body(database: Database) -> None:
    with database.begin() as session:
        record(session, "attest", leaf=b"entry", filename="x")
    (row,) = rows_of(database)
    assert row.leaf == b"entry"
    assert json.loads(row.body)["filename"] == "x"


def test_serials_are_told_before_the_commit(database: Database) -> None:
    told: list[int] = []
    with database.begin() as session:
        entries = [record(session, "test", on_serial=told.append) for _ in range(3)]
    assert told == [1, 2, 3] == [entry.serial for entry in entries]
    assert session.info["serial"] == 3


def test_a_failing_change_takes_no_serial(database: Database) -> None:
    def refuse(_serial: int) -> None:
        raise RuntimeError

    with pytest.raises(RuntimeError), database.begin() as session:
        record(session, "test", on_serial=refuse)
    with database.begin() as session:
        record(session, "test")
    assert [row.serial for row in rows_of(database)] == [1]


def test_what_people_see_of_it(database: Database) -> None:
    with database.begin() as session:
        for number in range(5):
            record(session, "test", project="widget", number=number)
    with database.read() as session:
        first, more = show.list_rows(session, after=0, limit=2)
        rest, end = show.list_rows(session, after=more or 0, limit=10)
        newest = show.newest_rows(session, limit=1)
    assert [row.serial for row in first + rest] == [1, 2, 3, 4, 5]
    assert (more, end) == (2, None)
    assert (newest[0].serial, newest[0].facts, newest[0].project) == (5, {"number": 4}, "widget")


def test_the_newest_checkpoint_is_kept_once(database: Database) -> None:
    with database.read() as session, pytest.raises(NotFound):
        show.newest_checkpoint(session)
    for note in ("a", "b"):
        with database.begin() as session:
            store_checkpoint(session, 7, note)
    with database.begin() as session:
        store_checkpoint(session, 3, "c")
    with database.read() as session:
        assert (show.newest_checkpoint(session).size, show.newest_checkpoint(session).note) == (7, "a")
