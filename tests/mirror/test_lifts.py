from __future__ import annotations

from datetime import timedelta

import pytest
from packaging.version import Version

from buildfarm import clock
from buildfarm.errors import InvalidInput, NotFound
from buildfarm.journal.show import newest_rows
from buildfarm.mirror import lifts


def add(database, **more: object):
    facts = {"channel": "mirror", "project": "Foo", "version": "1.0.0", "rule": "age"} | more
    with database.begin() as session:
        lift = lifts.add(session, reason="a fix for today", actor="ann", **facts)
        return lift.id


def in_force(database, after: timedelta = timedelta()):
    with database.read() as session:
        return lifts.in_force(session, "mirror", "foo", clock.now() + after)


def test_a_lift_holds_for_its_version_until_it_is_ended(database):
    lift = add(database)
    assert in_force(database) == {Version("1.0"): lifts.Lifted(frozenset({"age"}), None)}
    with database.begin() as session:
        lifts.end(session, lift, actor="ann")
    assert in_force(database) == {}
    with database.begin() as session, pytest.raises(NotFound):
        lifts.end(session, lift, actor="ann")


def test_a_lift_for_days_ends_by_itself(database):
    add(database, days=2)
    assert in_force(database, timedelta(days=1.9))
    assert not in_force(database, timedelta(days=2.1))


def test_it_stands_in_the_journal_with_author_and_reason(database):
    add(database)
    with database.read() as session:
        row = newest_rows(session, limit=1)[0]
    assert (row.kind, row.facts["actor"], row.facts["reason"]) == (
        "lift.add",
        "ann",
        "a fix for today",
    )


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"rule": "agee"}, "lift.rule"),
        ({"project": "../x"}, "project.name"),
        ({"version": "one"}, "version.invalid"),
    ],
)
def test_what_cannot_be_meant_is_refused(database, more, code):
    with pytest.raises(InvalidInput) as caught:
        add(database, **more)
    assert caught.value.code == code
