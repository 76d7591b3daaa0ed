"""Which jobs may go to builders: classes, limits of sources, and what deciding costs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import insert, update

from buildfarm import clock
from buildfarm.farm import dispatch, fleet, handover, jobs, registry
from buildfarm.farm.handover import hand_over_waiting
from buildfarm.farm.model import Job
from buildfarm.farm.rules import State
from buildfarm.farm.wire import CLASSES, queues_of_slot
from buildfarm.sources.model import Source
from tests.farm.test_handover import Queues

TARGETS = [f"cp3{n}-manylinux_2_28_x86_64" for n in range(10, 16)]
PREFIX = "build.manylinux-x86_64.dev"


def limited(house, source_id: str, jobs_max: int | None) -> None:
    with house.database.begin() as session:
        session.get_one(Source, source_id).jobs_max = jobs_max


def handed_over(house, queues: Queues) -> list[str]:
    """Ids of the jobs that one more round hands over."""
    before = {work for work, _attempt, _number in queues.held}
    hand_over_waiting(house.database, queues)
    return sorted({work for work, _attempt, _number in queues.held if work.startswith("job")} - before)


def test_a_source_has_no_more_jobs_with_builders_than_its_limit(each_house) -> None:
    source, other = each_house.source(), each_house.source("other", projects=())
    made = list(each_house.build(source, *TARGETS)[1].values())
    free = list(each_house.build(other, *TARGETS)[1].values())
    limited(each_house, source, 2)
    queues = Queues()
    assert handed_over(each_house, queues) == sorted([*made[:2], *free])
    assert handed_over(each_house, queues) == []
    token = each_house.claim(made[0])
    assert handed_over(each_house, queues) == []
    each_house.finish(token)
    assert handed_over(each_house, queues) == [made[2]]
    limited(each_house, source, 1)
    each_house.finish(each_house.claim(made[1]))
    assert handed_over(each_house, queues) == []
    limited(each_house, source, None)
    assert handed_over(each_house, queues) == made[3:]


def test_of_a_limited_source_the_most_urgent_goes_first_then_the_oldest(each_house) -> None:
    source = each_house.source()
    made = list(each_house.build(source, *TARGETS)[1].values())
    with each_house.database.begin() as session:
        for job_id, job_class in zip(made, [*reversed(CLASSES), *reversed(CLASSES)], strict=True):
            values = jobs.queued_values(source, f"{PREFIX}.{job_class}", clock.now())
            for name, value in values.items():
                setattr(session.get_one(Job, job_id), name, value)
    limited(each_house, source, 1)
    queues, went = Queues(), []
    for _ in made:
        (job_id,) = handed_over(each_house, queues)
        went.append(job_id)
        each_house.finish(each_house.claim(job_id))
    assert went == [made[n] for n in (2, 5, 1, 4, 0, 3)]


def crowd(house, source: str, count: int, job_class: str = "interactive") -> list[str]:
    """Ids of so many jobs of one class."""
    made = list(house.build(source, *(f"target{n}" for n in range(count)))[1].values())
    with house.database.begin() as session:
        queue = f"{PREFIX}.{job_class}"
        values = {"queue": queue, "urgency": CLASSES.index(job_class)}
        session.execute(update(Job).where(Job.id.in_(made)).values(values))
    return made


def test_of_a_queue_no_more_than_a_few_wait_before_builders(each_house) -> None:
    first, second = each_house.source(), each_house.source("other", projects=())
    long = crowd(each_house, first, dispatch.IN_QUEUE + 30)
    late = crowd(each_house, second, 3)
    other_queue = crowd(each_house, first, 2, "background")
    queues = Queues()
    assert handed_over(each_house, queues) == sorted([*long[: dispatch.IN_QUEUE], *other_queue])
    assert handed_over(each_house, queues) == []
    tokens = [each_house.claim(job_id) for job_id in long[:2]]
    assert handed_over(each_house, queues) == long[dispatch.IN_QUEUE : dispatch.IN_QUEUE + 2]
    for token in tokens:  # what runs waits before no builder: its end makes no room
        each_house.finish(token)
    assert handed_over(each_house, queues) == []
    for job_id in long[2:40]:
        each_house.claim(job_id)
    assert handed_over(each_house, queues) == [*long[dispatch.IN_QUEUE + 2 :], *late]


def test_a_source_at_its_limit_gives_its_place_in_the_queue_to_others(each_house) -> None:
    first, second = each_house.source(), each_house.source("other", projects=())
    mine, others = crowd(each_house, first, 150), crowd(each_house, second, 150)
    mine_later = crowd(each_house, first, 5, "release")
    limited(each_house, first, 4)
    queues = Queues()
    went = handed_over(each_house, queues)
    assert went == sorted([*mine[:4], *others[: dispatch.IN_QUEUE - 4]])
    for job_id in mine[:4]:
        each_house.finish(each_house.claim(job_id))
    with each_house.database.begin() as session:
        session.execute(update(Job).where(Job.id.in_(mine[4:])).values(state=State.CANCELLED))
    assert handed_over(each_house, queues) == sorted([*others[96:100], *mine_later[:4]])


def test_what_redis_lost_of_a_full_queue_comes_back_in_its_order(each_house) -> None:
    made = crowd(each_house, each_house.source(), dispatch.IN_QUEUE + 10)
    queues = Queues()
    handed_over(each_house, queues)
    queues.held.clear()
    assert handed_over(each_house, queues) == []  # nobody knows so far that they are lost
    lost = handover.take_back_lost(each_house.database, queues, timedelta(0))
    assert sorted(lost) == made[: dispatch.IN_QUEUE]
    assert handed_over(each_house, queues) == made[: dispatch.IN_QUEUE]


def test_queues_that_nobody_takes_from_do_not_hide_what_redis_lost_of_another(each_house) -> None:
    source = each_house.source()
    for stuck in ("release", "interactive"):
        crowd(each_house, source, dispatch.IN_QUEUE, stuck)
    queues = Queues()
    while handed_over(each_house, queues):
        pass
    (last,) = crowd(each_house, source, 1, "background")
    assert handed_over(each_house, queues) == [last]
    queues.held.remove((last, 1, 1))
    rounds = (handover.take_back_lost(each_house.database, queues, timedelta(0)) for _ in range(50))
    assert next(filter(None, rounds), None) == [last]


def test_a_claim_has_the_next_job_handed_over(each_house) -> None:
    made = crowd(each_house, each_house.source(), dispatch.IN_QUEUE + 1)
    token = joined(each_house, "one")
    queues = vars(each_house.farm)["queues"] = Queues()
    hand_over_waiting(each_house.database, queues)
    posted(each_house, token, "claim", {"job": made[0], "attempt": 1}).close()
    assert (made[-1], 1, 1) in queues.held


@contextmanager
def steps_of_sqlite(session) -> Iterator[list[int]]:
    """Counts what SQLite does, in hundreds of steps of its virtual machine."""
    connection, count = session.connection().connection.driver_connection, [0]

    def step() -> None:
        count[0] += 1

    connection.set_progress_handler(step, 100)
    yield count
    connection.set_progress_handler(None, 0)


@pytest.mark.parametrize("jobs_max", [None, 1, 3])
def test_ten_thousand_waiting_jobs_cost_a_dispatch_no_more_than_a_hundred(house, jobs_max) -> None:
    sources = [house.source(f"s{n}", projects=()) for n in range(5)]
    builds = [house.build(source)[0] for source in sources]
    cost: dict[int, int] = {}
    for waiting in (100, 10_000):
        with house.database.begin() as session:
            for build_id, source in zip(builds, sources, strict=True):
                values = jobs.queued_values(source, f"{PREFIX}.release", clock.now())
                rows = [
                    values | {"id": f"job_{n:06d}{source[-6:]}", "build_id": build_id, "target": f"t{n}"}
                    for n in range(waiting // len(sources) // 2, waiting // len(sources))
                ]
                session.execute(insert(Job), [row | {"required": True, "spec": {}} for row in rows])
        for source in sources:
            limited(house, source, jobs_max)
        with house.database.read() as session, steps_of_sqlite(session) as count:
            found = dispatch.ready_jobs(session, 20)
        assert len(found) == min(20, 5 * (jobs_max or 20))
        cost[waiting] = count[0]
    assert cost[10_000] < 2 * cost[100]


def test_the_last_slot_of_a_host_looks_from_the_other_end() -> None:
    urgent = [f"{PREFIX}.{one}" for one in CLASSES]
    assert queues_of_slot([PREFIX], 0, 1) == urgent
    assert [queues_of_slot([PREFIX], slot, 3) for slot in range(3)] == [urgent, urgent, urgent[::-1]]


def joined(house, name: str, *, slots: int = 2, queues: tuple[str, ...] = tuple(CLASSES)) -> str:
    """A builder that has said that it is there; its token."""
    with house.database.begin() as session:
        token = registry.add_builder(session, name, ["dev"], actor="test")[1]
    seen(house, token, slots=slots, queues=queues)
    return token


def seen(
    house, token: str, *, slots: int = 2, queues: tuple[str, ...] = tuple(CLASSES), findings: tuple = ()
) -> dict:
    report = {"queues": [f"{PREFIX}.{one}" for one in queues], "slots": slots, "findings": list(findings)}
    return posted(house, token, "builder/seen", report).json


def posted(house, token: str, path: str, body: dict):
    headers = {"Authorization": f"Bearer {token}"}
    return house.app.test_client().post(f"/jobapi/v1/{path}", json=body, headers=headers)


def test_a_paused_farm_hands_out_nothing_and_goes_on_where_it_was(each_house) -> None:
    source = each_house.source()
    first, second = each_house.build(source, *TARGETS[:2])[1].values()
    queues = Queues()
    handed_over(each_house, queues)
    running = each_house.claim(first)
    token = joined(each_house, "two")
    with each_house.database.begin() as session:
        dispatch.pause(session, actor="ada", reason="new disks")
    assert seen(each_house, token)["take"] is False
    refused = posted(each_house, token, "claim", {"job": second, "attempt": 1})
    assert (refused.status_code, refused.json["code"]) == (409, "dispatch.paused")
    later = list(each_house.build(source, *TARGETS[:2])[1].values())
    assert handed_over(each_house, queues) == []
    assert each_house.finish(running) == State.SUCCEEDED
    with each_house.database.begin() as session:
        dispatch.resume(session, actor="ada")
    assert seen(each_house, token)["take"] is True
    assert handed_over(each_house, queues) == later
    assert (second, 1, 2) in queues.held
    assert posted(each_house, token, "claim", {"job": second, "attempt": 1}).status_code == 200


def test_a_builder_that_is_turned_away_before_the_note_of_its_hand_over_loses_no_job(each_house) -> None:
    (job_id,) = each_house.build(each_house.source(), TARGETS[0])[1].values()
    token = joined(each_house, "one")
    with each_house.database.begin() as session:
        registry.drain(session, "one", actor="ada")

    class Quick(Queues):
        def hand_over(self, *where: Any, **how: Any) -> None:
            super().hand_over(*where, **how)
            if len(self.calls) == 1:
                assert posted(each_house, token, "claim", {"job": job_id, "attempt": 1}).status_code == 409

    queues = vars(each_house.farm)["queues"] = Quick()
    hand_over_waiting(each_house.database, queues)
    assert queues.held == {(job_id, 1, 1), (job_id, 1, 2)}
    assert handed_over(each_house, queues) == []


def test_a_drained_builder_finishes_what_it_has_and_takes_nothing_more(each_house) -> None:
    first, second = each_house.build(each_house.source(), *TARGETS[:2])[1].values()
    queues = Queues()
    handed_over(each_house, queues)
    one, two = joined(each_house, "eins"), joined(each_house, "zwei")
    attempt = posted(each_house, one, "claim", {"job": first, "attempt": 1}).json["token"]
    with each_house.database.begin() as session:
        registry.drain(session, "eins", actor="ada")
    assert (seen(each_house, one)["take"], seen(each_house, two)["take"]) == (False, True)
    refused = posted(each_house, one, "claim", {"job": second, "attempt": 1})
    assert (refused.status_code, refused.json["code"]) == (409, "builder.drained")
    hand_over_waiting(each_house.database, queues)
    assert (second, 1, 2) in queues.held
    assert posted(each_house, attempt, "attempt/heartbeat", {"phase": "build"}).json["go_on"] is True
    assert posted(each_house, attempt, "attempt/finish", {"state": "succeeded"}).status_code == 200
    assert posted(each_house, two, "claim", {"job": second, "attempt": 1}).status_code == 200
    with each_house.database.begin() as session:
        registry.undrain(session, "eins", actor="ada")
    assert seen(each_house, one)["take"] is True


BAD = {"name": "disk", "good": False, "value": "3 MiB free", "hint": "Make room."}
INFRASTRUCTURE = {"state": "failed", "cause": "infrastructure", "first_error": "The engine broke."}


def test_a_builder_takes_nothing_before_its_self_test_and_nothing_while_it_is_unfit(each_house) -> None:
    (job_id,) = each_house.build(each_house.source(), TARGETS[0])[1].values()
    with each_house.database.begin() as session:
        token = registry.add_builder(session, "one", ["dev"], actor="test")[1]
    untested = {"queues": [f"{PREFIX}.interactive"], "slots": 1, "findings": None}
    assert posted(each_house, token, "builder/seen", untested).json["take"] is False
    assert seen(each_house, token, findings=(BAD,))["take"] is False
    with each_house.database.read() as session:
        row = fleet.list_builders(session, each_house.farm.settings)[0]
        assert (row.state, row.failed) == ("unfit by its self-test", (BAD,))
    refused = posted(each_house, token, "claim", {"job": job_id, "attempt": 1})
    assert (refused.status_code, refused.json["code"]) == (409, "builder.unfit")
    assert seen(each_house, token, findings=(BAD | {"good": True},))["take"] is True
    assert posted(each_house, token, "claim", {"job": job_id, "attempt": 1}).status_code == 200


def failed_on(house, token: str, job_id: str, attempt: int) -> None:
    """One attempt that ends by the farm's own fault."""
    claimed = posted(house, token, "claim", {"job": job_id, "attempt": attempt})
    assert claimed.status_code == 200
    assert posted(house, claimed.json["token"], "attempt/finish", INFRASTRUCTURE).json["state"] == "queued"


def test_what_the_farm_failed_on_one_builder_is_tried_on_another_that_is_free(each_house) -> None:
    first, second = each_house.build(each_house.source(), *TARGETS[:2])[1].values()
    one, two = joined(each_house, "one"), joined(each_house, "two", slots=1)
    failed_on(each_house, one, first, 1)
    queues = Queues()
    handed_over(each_house, queues)
    refused = posted(each_house, one, "claim", {"job": first, "attempt": 2})
    assert (refused.status_code, refused.json["code"]) == (409, "attempt.elsewhere")
    hand_over_waiting(each_house.database, queues)
    assert (first, 2, 2) in queues.held
    busy = posted(each_house, two, "claim", {"job": second, "attempt": 1}).json["token"]
    failed_on(each_house, one, first, 2)
    posted(each_house, busy, "attempt/finish", {"state": "succeeded"})
    assert posted(each_house, one, "claim", {"job": first, "attempt": 3}).status_code == 409
    assert posted(each_house, two, "claim", {"job": first, "attempt": 3}).status_code == 200


@pytest.mark.parametrize(
    "other", ["unfit", "drained", "of another tier", "of other queues", "away", "tried too"]
)
def test_where_no_other_builder_can_take_it_the_same_one_does(house, other: str) -> None:
    (job_id,) = house.build(house.source(), TARGETS[0])[1].values()
    one, two = joined(house, "one"), joined(house, "two")
    failed_on(house, one, job_id, 1)
    if other == "tried too":
        failed_on(house, two, job_id, 2)
    with house.database.begin() as session:
        row = registry.named(session, "two")
        match other:
            case "unfit":
                row.facts = {**row.facts, "findings": [BAD]}
            case "drained":
                row.drained_at = clock.now()
            case "of another tier":
                row.tiers = ["release"]
            case "of other queues":
                row.facts = {**row.facts, "queues": [f"{PREFIX}.background"]}
            case "away":
                row.seen_at = clock.now() - timedelta(hours=1)
    attempt = 3 if other == "tried too" else 2
    assert posted(house, one, "claim", {"job": job_id, "attempt": attempt}).status_code == 200


def test_a_job_does_not_come_back_to_the_wrong_builder_without_end(house) -> None:
    (job_id,) = house.build(house.source(), TARGETS[0])[1].values()
    one, _two = joined(house, "one"), joined(house, "two")
    failed_on(house, one, job_id, 1)
    queues = Queues()
    for _ in range(30):
        hand_over_waiting(house.database, queues)
        if posted(house, one, "claim", {"job": job_id, "attempt": 2}).status_code == 200:
            break
    with house.database.read() as session:
        assert session.get_one(Job, job_id).state == State.RUNNING
