"""Why a job is queued and when it is expected to begin: one sentence for each state of the farm."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import Engine, event

from buildfarm import clock
from buildfarm.farm import dispatch, registry
from buildfarm.farm.model import Builder, Job
from buildfarm.farm.waiting import Wait, obstacles_of, waits_of
from tests.farm.test_dispatch import BAD, PREFIX, TARGETS, handed_over, joined, limited, posted, seen
from tests.farm.test_handover import Queues

PLATFORM, TIER = PREFIX.removeprefix("build.").split(".")
NOBODY = f"No builder that joined takes {PLATFORM} for the tier {TIER}; an administrator adds one."


def waits(house, build_id: str) -> list[Wait]:
    """Of the build's queued jobs, in the order of their ids."""
    with house.database.read() as session:
        found = waits_of(session, build_id, house.farm.settings)
    return [found[job_id] for job_id in sorted(found)]


@pytest.fixture
def build(house) -> str:
    return house.build(house.source(), TARGETS[0])[0]


def test_no_builder_takes_it(house, build: str) -> None:
    assert waits(house, build) == [Wait(NOBODY)]
    joined(house, "other", queues=("background",))
    assert waits(house, build) == [Wait(NOBODY)]


def test_the_builders_for_it_are_away_or_drained(house, build: str) -> None:
    joined(house, "one"), joined(house, "two")
    with house.database.begin() as session:
        registry.drain(session, "one", actor="ada")
        registry.drain(session, "two", actor="ada")
    assert waits(house, build) == [Wait("Every builder that could take it is drained: one, two.")]
    with house.database.begin() as session:
        for one in session.query(Builder):
            one.seen_at = clock.now() - timedelta(hours=1)
    assert waits(house, build) == [Wait("Every builder that could take it is not heard of: one, two.")]


def test_the_builders_for_it_are_unfit(house, build: str) -> None:
    token = joined(house, "one")
    seen(house, token, findings=(BAD,))
    assert waits(house, build) == [Wait("Every builder that could take it is unfit by its self-test: one.")]


def test_the_farm_is_paused(house, build: str) -> None:
    joined(house, "one")
    with house.database.begin() as session:
        dispatch.pause(session, actor="ada", reason="new disks")
    assert waits(house, build) == [Wait("ada has paused the farm: new disks")]


def test_its_source_is_at_its_limit(house) -> None:
    joined(house, "one")
    source = house.source()
    build, _ = house.build(source, *TARGETS[:2])
    limited(house, source, 1)
    handed_over(house, Queues())
    first, second = waits(house, build)
    assert first.sentence == "A builder takes it in a moment."
    assert second == Wait("widget has 1 of at most 1 jobs with builders.", ahead=1)


def test_the_builders_are_busy_with_what_came_before(house) -> None:
    source = house.source()
    token = joined(house, "one", slots=2)
    before, jobs = house.build(source, *TARGETS[:4])
    build, _ = house.build(source, *TARGETS[:1])
    assert [one.sentence for one in waits(house, build)] == ["4 jobs are ahead of it."]
    assert waits(house, before)[0].sentence == "A builder takes it in a moment."
    for target in TARGETS[:2]:
        posted(house, token, "claim", {"job": jobs[target], "attempt": 1})
    busy = "All 2 slots that take it are busy; "
    assert waits(house, before) == [
        Wait(f"{busy}no job is ahead of it.", 0),
        Wait(f"{busy}1 job is ahead of it.", 1),
    ]
    assert waits(house, build) == [Wait(f"{busy}2 jobs are ahead of it.", 2)]


def test_the_expected_start_comes_of_how_long_jobs_took_lately(house) -> None:
    source = house.source()
    now = clock.now()
    for n in range(3):
        _, jobs = house.build(source, TARGETS[0], ref=f"refs/tags/{n}")
        house.finish(house.claim(jobs[TARGETS[0]]))
        with house.database.begin() as session:
            done = session.get_one(Job, jobs[TARGETS[0]])
            done.started_at, done.finished_at = now, now + timedelta(minutes=(1, 10, 60)[n])
    token = joined(house, "one", slots=1)
    build, jobs = house.build(source, *TARGETS[:4])
    begun = waits(house, build)
    assert abs(begun[0].expected_at - now) < timedelta(minutes=1)
    posted(house, token, "claim", {"job": jobs[TARGETS[0]], "attempt": 1})
    minutes = [round((one.expected_at - clock.now()).total_seconds() / 60) for one in waits(house, build)]
    assert minutes == [10, 20, 30]


def test_a_job_without_an_end_says_nothing_of_how_long_one_takes(house, build: str) -> None:
    _, jobs = house.build(house.source("other", projects=()), TARGETS[0])
    house.finish(house.claim(jobs[TARGETS[0]]))
    with house.database.begin() as session:
        session.get_one(Job, jobs[TARGETS[0]]).finished_at = None
    (running,) = house.build(house.source("more", projects=()), TARGETS[0])[1].values()
    posted(house, joined(house, "one", slots=1), "claim", {"job": running, "attempt": 1})
    assert waits(house, build)[0].expected_at is None


def test_pages_and_api_say_it(house, build: str) -> None:
    client = house.client(house.token("admin"))
    said = client.get(f"/api/v1/builds/{build}").json
    (job_id,) = said["waits"]
    sentence = NOBODY
    assert said["waits"][job_id]["sentence"] == sentence
    assert client.get(f"/api/v1/jobs/{job_id}").json["wait"]["sentence"] == sentence
    for path in (f"/builds/{build}", f"/jobs/{job_id}"):
        assert sentence in client.get(path).text


def test_the_queue_says_of_each_build_what_is_in_its_way_and_asks_no_more_for_more_builds(house) -> None:
    joined(house, "one")
    source = house.source()
    held, _ = house.build(source, *TARGETS[:2])
    other, _ = house.build(house.source("other", projects=()), TARGETS[0])
    limited(house, source, 1)
    handed_over(house, Queues())
    client = house.client(house.token("admin"))
    asked: list[str] = []

    def note(_connection, _cursor, text: str, *_more: object) -> None:
        asked.append(text)

    def obstacles(build_ids: list[str]) -> tuple[set[str], int]:
        """The builds that something is in the way of, and how many questions that took."""
        asked.clear()
        event.listen(Engine, "before_cursor_execute", note)
        with house.database.read() as session:
            found = obstacles_of(session, build_ids, house.farm.settings)
        event.remove(Engine, "before_cursor_execute", note)
        return set(found), len(asked)

    found, few = obstacles([held, other])
    assert found == {held}
    assert client.get("/queue").text.count("widget has 1 of at most 1 jobs with builders.") == 1
    more = [house.build(house.source(f"more{n}", projects=()), TARGETS[0])[0] for n in range(5)]
    with house.database.begin() as session:
        registry.drain(session, "one", actor="ada")
    assert obstacles([held, other, *more]) == ({held, other, *more}, few)
    assert client.get("/queue").text.count("Every builder that could take it is drained: one.") == 7
