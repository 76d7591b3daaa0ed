"""What one publish costs does not depend on what is there already: work is counted, not timed."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, event

from buildfarm.index import follow, lists, projectpages, runs
from buildfarm.index.lists import ChannelLists
from buildfarm.index.pagefacts import PageRelease
from buildfarm.index.projectpages import Latest, Site

DAY = timedelta(days=1)


@pytest.fixture
def clockless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Feeds are written once, and lists with every change: what is counted depends on no clock."""
    monkeypatch.setattr(lists, "PATIENCE_S", 3600.0)
    monkeypatch.setattr(lists, "_DEAR_S", math.inf)


def wheel(version: str) -> str:
    return f"widget-{version}-py3-none-any.whl"


def release(number: int, day: int, files: tuple[str, ...] = ()) -> PageRelease:
    return PageRelease(f"1.{number}", number, None, datetime(2026, 1, 1, tzinfo=UTC) + day * DAY, files)


def test_a_publish_scans_no_table(house, put) -> None:
    put(house, wheel("1.0"), b"one")
    put(house, "other-1.0-py3-none-any.whl", b"other")
    asked: list[tuple[str, object]] = []

    def note(_connection, _cursor, text: str, given: object, *_more: object) -> None:
        asked.append((text, given))

    # Reading and writing have engines of their own.
    event.listen(Engine, "before_cursor_execute", note)
    put(house, wheel("1.1"), b"two")
    event.remove(Engine, "before_cursor_execute", note)
    plans = []
    with house.database.engine.connect() as connection:
        for text, given in [one for one in asked if one[0].startswith("SELECT")]:
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}", given)
            plans += [(row[3], text) for row in plan]
    # There are few channels, and one head of the journal.
    assert {detail for detail, _text in plans if detail.startswith("SCAN ")} <= {
        "SCAN channel",
        "SCAN journal_head",
    }
    assert sum(detail.startswith("SEARCH channel_entry") for detail, _text in plans) > 1


def test_a_channel_without_the_project_has_no_news_of_it(house) -> None:
    with house.database.read() as session:
        site = Site.of(house.tree, house.farm.blobs, house.farm.settings)
        lists = ChannelLists(session, site, "stable")
        lists.write(session)
    lists.note("widget", 5, [])
    assert lists.due_in_s == math.inf
    lists.note("widget", 6, [release(1, 1)])
    assert lists.due_in_s < math.inf


def test_a_publish_deflates_and_looks_at_as_much_of_many_releases_as_of_few(
    house, put, clockless, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Every eighth release ends a run; releases 57 and 121 each begin one.
    monkeypatch.setattr(projectpages, "_ends", lambda one: int(one.version.split(".")[1]) % 8 == 0)
    deflated, looked_at = [], []
    of, age = runs.Piece.of.__func__, projectpages._age
    count_bytes = classmethod(lambda cls, raw, **more: deflated.append(len(raw)) or of(cls, raw, **more))
    monkeypatch.setattr(runs.Piece, "of", count_bytes)
    monkeypatch.setattr(projectpages, "_age", lambda one: looked_at.append(one) or age(one))

    def cost(number: int) -> tuple[int, int, int]:
        deflated.clear()
        looked_at.clear()
        put(house, wheel(f"1.{number}"), b"%d" % number)
        return len(deflated), sum(deflated), len(looked_at)

    costs = [cost(number) for number in range(1, 130)]
    # These two are alike but for what was there before.
    few, many = costs[56], costs[120]
    assert many[0] <= few[0]
    assert many[1] <= 1.1 * few[1]
    assert many[2] <= few[2] + 2


def test_a_follower_that_is_warm_after_a_restart_deflates_as_little_as_before_it(
    house, put, clockless, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(projectpages, "_ends", lambda one: int(one.version.split(".")[1]) % 8 == 0)
    monkeypatch.setattr(lists, "_SPAN", 4)
    monkeypatch.setattr(follow, "_MANY_FILES", 20)
    deflated = []
    of = runs.Piece.of.__func__
    count_bytes = classmethod(lambda cls, raw, **more: deflated.append(len(raw)) or of(cls, raw, **more))
    monkeypatch.setattr(runs.Piece, "of", count_bytes)

    def cost(filename: str) -> int:
        deflated.clear()
        put(house, filename, filename.encode())
        return sum(deflated)

    def costs(number: int) -> list[int]:
        return [cost(wheel(f"1.{number}")), cost(f"other{number}-1.0-py3-none-any.whl")]

    for number in range(40):
        costs(number)
    before = costs(41)
    vars(house).pop("follower")
    house.follower.catch_up()
    assert list(house.follower.warm()) == [True] * 4  # three lists, one large project
    after = costs(42)
    assert all(new <= 1.1 * old for old, new in zip(before, after, strict=True)), (before, after)


@given(
    st.lists(st.tuples(st.integers(0, 120), st.integers(0, 50)), max_size=120),
    st.lists(st.tuples(st.booleans(), st.integers(0, 120), st.integers(0, 50)), max_size=8),
)
def test_the_latest_releases_are_known_whatever_comes_and_goes(first, changes) -> None:
    every = {number: release(number, day) for number, day in first}
    latest = Latest(every.values())
    for goes, number, day in changes:
        old = [every.pop(number)] if number in every else []
        new = [] if goes else [release(number, day, ("file",))]
        every |= dict.fromkeys([number], new[0]) if new else {}
        latest.change(old, new, every.values())
        assert latest.releases == Latest(every.values()).releases
