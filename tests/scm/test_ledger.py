"""The ledger: searched, asked why, and forgetting with age."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from buildfarm import clock
from buildfarm.config import Ledger
from buildfarm.errors import Conflict
from buildfarm.farm import builds
from buildfarm.farm.model import Build
from buildfarm.farm.rules import State
from buildfarm.ids import first_id, new_id
from buildfarm.scm.instep import steps_of
from buildfarm.scm.model import Delivery, DeliveryEvent, Sighting
from buildfarm.scm.replay import replay
from buildfarm.scm.retention import drop_old
from buildfarm.scm.show import delivery_detail, list_deliveries
from buildfarm.scm.why import why
from buildfarm.sources.model import Source
from tests.conftest import House

HEAD = "83b4ac24535ca9a81c24298bd05082d472142fd0"


class Book:
    """A farm's ledger, and what a test writes into it."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.source_id = house.source()

    def add(self, at: datetime | None = None, **facts: Any) -> str:
        at = at or clock.now()
        usual: dict[str, Any] = {
            "id": first_id("dlv", at)[:-6] + new_id("dlv")[-6:], "source_id": self.source_id,
            "scm": "generic", "received_at": at, "state": "accepted", "headers": {}, "body": b"{}",
            "body_sha256": "", "steps": [],
        }  # fmt: skip
        event = {name: facts.get(name) for name in ("ref", "commit", "title")} | {
            "kind": facts.get("kind", "push")
        }
        reason = facts.get("reason") if facts.get("state") == "ignored" else None
        with self.house.database.begin() as session:
            row = Delivery(**(usual | facts))
            if facts.get("state") != "rejected":
                row.events.append(DeliveryEvent(source_id=self.source_id, position=0, reason=reason, **event))
            session.add(row)
            return row.id

    def build(self, ref: str = "refs/heads/main", commit: str | None = HEAD, **facts: Any) -> str:
        with self.house.database.begin() as session:
            source = session.get_one(Source, self.source_id)
            delivery_id = facts.pop("delivery_id", None)
            build = builds.start(
                session, source, ref=ref, commit=commit, trigger="test", actor="ada", delivery_id=delivery_id
            )
            for name, value in facts.items():
                setattr(build, name, value)
            return build.id

    def seen(self, first_refs: dict[str, str] | None, **facts: Any) -> None:
        with self.house.database.begin() as session:
            usual: dict[str, Any] = {"failures": 0, "next_at": clock.now(), "in_step_at": clock.now()}
            session.add(Sighting(source_id=self.source_id, first_refs=first_refs, **(usual | facts)))

    def follow(self, *branches: str) -> None:
        with self.house.database.begin() as session:
            session.get_one(Source, self.source_id).branches = list(branches)

    def search(self, words: str, **more: Any) -> list[str]:
        with self.house.database.read() as session:
            return [row.id for row in list_deliveries(session, search=words, **more)[0]]

    def why(self, asked: str):
        with self.house.database.read() as session:
            return why(session, self.house.farm.settings, "widget", asked)


@pytest.fixture
def book(each_house: House) -> Book:
    return Book(each_house)


# Search -----------------------------------------------------------------------------------------------


def test_every_word_must_be_somewhere_in_the_row(book: Book) -> None:
    first = book.add(ref="refs/heads/main", commit=HEAD, actor="Grace", title="Round 100%_ of the rim")
    second = book.add(state="ignored", reason="ref_not_followed", ref="refs/heads/topic", key="guid-1:ab")
    for words in ("main", "MAIN grace", HEAD[:8], "rim round", "100%_", first, first[4:15]):
        assert book.search(words) == [first], words
    for words in ("topic", "ref_not_followed", "guid-1"):
        assert book.search(words) == [second], words
    for words in ("main topic", "10_%", "%", "nobody"):
        assert book.search(words) == [first] * (words == "%"), words
    assert book.search("refs", state="ignored") == [second]
    assert book.search("refs", source="widget") == [second, first]
    assert book.search("refs", source="other") == []


def test_a_day_an_hour_and_a_minute_are_words_too(book: Book) -> None:
    # Letters that no id has: ids are searched too, and one may hold `v2` by chance.
    at = datetime(2026, 11, 28, 14, 5, 59, 999_000, tzinfo=UTC)
    row = book.add(at, ref="refs/tags/oil")
    book.add(at + timedelta(days=1), ref="refs/tags/lilo")
    for words in ("2026-11-28", "2026-11-28T14", "2026-11-28T14:05", "2026-11-28 oil"):
        assert book.search(words) == [row], words
    for words in ("2026-11-27", "2026-11-28T15", "2026-11-28T14:06", "2026-11-28 lilo"):
        assert book.search(words) == [], words


def test_pages_of_a_search_join_without_a_gap(book: Book) -> None:
    made = [book.add(ref="refs/tags/v1") for _ in range(5)]
    found, before = [], None
    with book.house.database.read() as session:
        while True:
            rows, before = list_deliveries(session, search="v1", before=before, limit=2)
            found += [row.id for row in rows]
            if before is None:
                break
    assert found == sorted(made, reverse=True)


def test_the_longest_texts_a_sender_may_put_in_are_taken(book: Book) -> None:
    wide = "\U0001f600"
    row = book.add(ref=f"refs/heads/{wide * 900}", title=wide * 500, actor=wide * 200, key="k" * 233)
    assert book.search(wide) == [row]


@given(st.integers(1_577_836_800_000, 4_102_444_800_000))
def test_ids_sort_by_the_moment_they_were_made(milliseconds: int) -> None:
    moment = datetime.fromtimestamp(milliseconds / 1000, UTC)
    assert first_id("dlv", moment) < first_id("dlv", moment + timedelta(milliseconds=2))
    now = clock.now()
    assert (
        first_id("dlv", now - timedelta(seconds=1))
        < new_id("dlv")
        < first_id("dlv", now + timedelta(hours=1))
    )


# Why ---------------------------------------------------------------------------------------------------


def test_a_push_that_nobody_told_of_and_is_not_followed(book: Book) -> None:
    found = book.why("topic")
    assert "not one that the source follows" in found.sentence
    assert [(clue.name, clue.good) for clue in found.clues] == [
        ("followed", False), ("delivery", False), ("build", False), ("sweep", False),
    ]  # fmt: skip


def test_what_a_delivery_became_is_the_answer(book: Book) -> None:
    book.follow("main")
    book.add(state="ignored", reason="skip_requested", ref="refs/heads/main", commit=HEAD)
    for asked in ("main", HEAD, HEAD[:8]):
        assert "[skip ci]" in book.why(asked).sentence, asked


@pytest.mark.parametrize(
    ("facts", "sentence", "remedy"),
    [
        (
            {"state": State.FAILED, "first_error": "cp313: no parser"},
            "failed: cp313: no parser",
            "build start",
        ),
        ({"state": State.CANCELLED, "first_error": "Cancelled by ada."}, "Cancelled by ada.", "build start"),
        (
            {"state": State.PUBLISHED, "project": "widget", "version": "1.0"},
            "published widget 1.0",
            "Install",
        ),
        ({}, "is queued", "Its page"),
    ],
)
def test_what_became_of_the_build_is_the_answer(book: Book, facts, sentence: str, remedy: str) -> None:
    delivery = book.add(ref="refs/heads/main", commit=HEAD)
    book.build(delivery_id=delivery, **facts)
    book.add(state="ignored", reason="already_built", ref="refs/heads/main", commit=HEAD)
    found = book.why("main")
    assert sentence in found.sentence
    assert remedy in found.remedy


def test_a_build_that_gave_way_names_what_replaced_it(book: Book) -> None:
    newer = book.build(commit="1" * 40)
    book.build(state=State.CANCELLED, superseded_by=newer)
    assert "gave way to a newer build" in book.why(HEAD).sentence


def test_a_later_delivery_that_was_ignored_counts_more_than_an_earlier_build(book: Book) -> None:
    book.build(commit="1" * 40, state=State.PUBLISHED, project="widget", version="1.0")
    book.add(
        clock.now() + timedelta(seconds=1),
        state="ignored",
        reason="skip_requested",
        ref="refs/heads/main",
        commit=HEAD,
    )
    assert "[skip ci]" in book.why("main").sentence


def test_what_the_sweep_knows_is_the_answer_where_nothing_was_told(book: Book) -> None:
    book.follow("main")
    assert "could not be looked at so far" in book.why("main").sentence
    book.seen({"refs/heads/main": HEAD})
    assert "was there when the farm first saw the repository" in book.why("main").sentence
    assert "was there when the farm first saw the repository" in book.why(HEAD[:9]).sentence
    assert "had no refs/tags/v9" in book.why("v9").sentence
    assert "not the head of a branch or tag" in book.why("1" * 40).sentence


def test_a_repository_that_is_away_and_refused_calls_are_named(book: Book) -> None:
    book.follow("main")
    book.seen({}, problem="It is away.")
    book.add(state="ignored", reason="ping", kind="ping")
    for _ in range(3):
        book.add(state="rejected", reason="signature_wrong")
    found = book.why("main")
    assert found.remedy == "It is away."
    assert any("last 3 calls of the hook were refused" in clue.sentence for clue in found.clues)


def test_refusals_are_counted_since_the_last_good_call_and_only_if_there_was_one(book: Book) -> None:
    def refusals() -> int:
        with book.house.database.read() as session:
            return steps_of(session, [book.source_id])[book.source_id].refusals

    book.add(state="rejected", reason="signature_wrong")
    book.add(reason="found_by_sweep", body=None)
    assert refusals() == 0
    book.add(state="ignored", reason="ping")
    assert refusals() == 0
    for count in (1, 2, 3):
        book.add(state="rejected", reason="signature_wrong")
        book.add(reason="found_by_sweep", body=None)
        assert refusals() == count
    book.add(ref="refs/heads/main")
    assert refusals() == 0


def test_the_page_the_api_and_the_refusals_of_what_is_no_ref(book: Book) -> None:
    book.add(state="ignored", reason="ref_not_followed", ref="refs/heads/topic", commit=HEAD)
    client = book.house.client(book.house.token("view"))
    told = client.get(f"/api/v1/sources/widget/why?of={HEAD}").json
    assert told["sentence"] == "This branch or tag is not one that the source follows."
    assert told["clues"][0]["name"] == "delivery"
    page = client.get("/sources/widget/why?of=topic").text
    assert "This branch or tag is not one that the source follows." in page
    assert "Why was nothing built?" in client.get("/sources/widget/why").text
    assert client.get("/api/v1/sources/widget/why?of=a..b").status_code == 400
    assert client.get("/api/v1/sources/nothing/why?of=main").status_code == 404
    found = client.get("/deliveries?search=topic").text
    assert 'value="topic"' in found


# Retention ---------------------------------------------------------------------------------------------


def test_bodies_go_first_and_rows_that_started_nothing_later(book: Book) -> None:
    now = clock.now()
    fresh = book.add(state="ignored", reason="ping")
    old = book.add(now - timedelta(days=40), state="ignored", reason="ping")
    ancient = book.add(now - timedelta(days=400), state="rejected", reason="signature_wrong")
    built = book.add(now - timedelta(days=400), ref="refs/heads/main", commit=HEAD)
    replayed = book.add(now - timedelta(days=400), state="ignored", reason="ref_not_followed")
    build = book.build(delivery_id=built)
    book.build(delivery_id=replayed)
    kept = Ledger(bodies_days=30, rows_days=365)
    assert drop_old(book.house.database, kept, now) == (4, 1)
    assert drop_old(book.house.database, kept, now) == (0, 0)
    with book.house.database.read() as session:
        bodies = {row.id: delivery_detail(session, row.id) for row in list_deliveries(session)[0]}
        assert session.get_one(Build, build).delivery_id == built
    assert set(bodies) == {fresh, old, built, replayed}
    assert ancient not in bodies
    assert (bodies[fresh].body_bytes, bodies[old].body_bytes, bodies[old].body) == (2, None, "")
    page = book.house.client(book.house.token("view")).get(f"/deliveries/{old}").text
    assert "dropped for its age" in page


def test_many_are_dropped_in_bounded_batches(book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("buildfarm.scm.retention._BATCH", 2)
    past = clock.now() - timedelta(days=400)
    for _ in range(5):
        book.add(past, state="ignored", reason="ping")
    assert drop_old(book.house.database, Ledger(), clock.now()) == (5, 5)
    with book.house.database.read() as session:
        assert session.scalars(select(Delivery)).all() == []


def test_what_has_no_body_cannot_be_replayed_and_says_what_can(book: Book) -> None:
    row = book.add(body=None, reason="found_by_sweep", ref="refs/heads/main", commit=HEAD)
    with pytest.raises(Conflict) as caught, book.house.database.begin() as session:
        replay(session, row, actor="ada")
    assert (caught.value.code, "build start" in caught.value.hint) == ("delivery.no_body", True)
