from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from sqlalchemy import select

from buildfarm.errors import ExternalFailure
from buildfarm.farm import builds, claims, handover
from buildfarm.farm.model import Build, Job, Task
from buildfarm.farm.rules import Cause, State
from buildfarm.farm.wire import rq_job_id

T1, T2 = "cp312-manylinux_2_28_x86_64", "cp313-manylinux_2_28_x86_64"


@dataclass
class Queues:
    """What RQ would hold: hand-overs by (work, attempt, number), each once."""

    held: set[tuple[str, int, int]] = field(default_factory=set)
    calls: list[tuple[str, str]] = field(default_factory=list)
    away: bool = False

    def hand_over(
        self,
        queue: str,
        function: str,
        work_id: str,
        attempt: int,
        number: int,
        *,
        timeout_s: int,
        first: bool = False,
    ) -> None:
        if self.away:
            raise ExternalFailure("away", code="queue.unreachable")
        assert timeout_s > 3600
        rq_job_id(queue, work_id, attempt, number)  # what the real ones check first
        self.held.add((work_id, attempt, number))
        self.calls.append((queue, function))

    def holds(self, _queue: str, work_id: str, attempt: int, number: int) -> bool:
        if self.away:
            raise ExternalFailure("away", code="queue.unreachable")
        return (work_id, attempt, number) in self.held


@pytest.fixture
def jobs(each_house) -> list[str]:
    return list(each_house.build(each_house.source(), T1, T2)[1].values())


def row(house, job_id: str) -> Job:
    with house.database.read() as session:
        return session.get_one(Job, job_id)


def test_what_waits_is_handed_over_once(each_house, jobs: list[str]) -> None:
    queues = Queues()
    assert handover.hand_over_waiting(each_house.database, queues) == 2
    assert handover.hand_over_waiting(each_house.database, queues) == 0
    assert queues.held == {(job, 1, 1) for job in jobs}
    assert set(queues.calls) == {("build.manylinux-x86_64.dev.interactive", "workers.builds.run_build")}
    assert all(row(each_house, job).handed_over_at for job in jobs)


def test_without_redis_everything_stays_in_the_outbox(each_house, jobs: list[str]) -> None:
    queues = Queues(away=True)
    handover.try_hand_over(each_house.database, queues)
    assert all(row(each_house, job).handed_over_at is None for job in jobs)
    queues.away = False
    handover.try_hand_over(each_house.database, queues)
    assert len(queues.held) == 2


def fetches(house, *subjects: str) -> None:
    with house.database.begin() as session:
        for subject in subjects:
            builds.add_task(session, "fetch", subject)


def tasks(house) -> dict[str, Task]:
    with house.database.read() as session:
        return {task.subject: task for task in session.scalars(select(Task))}


def promised(house, *subjects: str) -> list[handover.Waiting]:
    with house.database.begin() as session:
        for subject in subjects:
            builds.add_task(session, "fetch", subject)
        return handover.promise(session)


def test_what_was_promised_is_handed_over_and_nothing_else(each_house, jobs: list[str]) -> None:
    queues = Queues()
    fetches(each_house, "bld_other")
    mine = promised(each_house, "bld_mine")
    handover.try_hand_over_promised(each_house.database, queues, mine)
    rows = tasks(each_house)
    assert queues.held == {(rows["bld_mine"].id, 1, 1)}
    assert (rows["bld_mine"].hand_over, rows["bld_other"].handed_over_at) == (1, None)
    assert all(row(each_house, job).handed_over_at is None for job in jobs)
    assert handover.hand_over_waiting(each_house.database, queues) == 3
    assert (rows["bld_mine"].id, 1, 2) not in queues.held


def test_a_promise_is_kept_whether_or_not_a_query_had_its_row_written_before(each_house) -> None:
    with each_house.database.begin() as session:
        builds.add_task(session, "fetch", "bld_first")
        session.flush()
        builds.add_task(session, "fetch", "bld_second")
        mine = handover.promise(session)
    rows = tasks(each_house)
    assert [one.id for one in mine] == [rows["bld_first"].id, rows["bld_second"].id]
    assert [rows[one].hand_over for one in ("bld_first", "bld_second")] == [1, 1]
    assert all(one.handed_over_at for one in rows.values())


def test_a_promise_that_redis_does_not_let_be_kept_goes_back_to_the_outbox(each_house) -> None:
    queues = Queues()

    class Lossy(Queues):
        def hand_over(self, *where, **how) -> None:
            if queues.held:
                raise ExternalFailure("away", code="queue.unreachable")
            queues.hand_over(*where, **how)

    mine = promised(each_house, "bld_first", "bld_second")
    handover.try_hand_over_promised(each_house.database, Lossy(), mine)
    rows = tasks(each_house)
    assert rows["bld_first"].handed_over_at
    assert rows["bld_second"].handed_over_at is None
    assert handover.hand_over_waiting(each_house.database, queues) == 1
    assert queues.held == {(rows["bld_first"].id, 1, 1), (rows["bld_second"].id, 1, 2)}


def test_a_promise_whose_process_was_killed_is_taken_back_after_a_while(each_house) -> None:
    queues, grace = Queues(), timedelta(0)
    (mine,) = promised(each_house, "bld_mine")
    assert handover.hand_over_waiting(each_house.database, queues) == 0
    assert handover.take_back_lost(each_house.database, queues, grace) == [mine.id]
    assert handover.hand_over_waiting(each_house.database, queues) == 1
    # What comes late is one hand-over more of the same row, which can be claimed once.
    handover.try_hand_over_promised(each_house.database, queues, [mine])
    assert queues.held == {(mine.id, 1, 1), (mine.id, 1, 2)}


def test_what_went_before_redis_was_lost_is_noted(each_house, jobs: list[str]) -> None:
    class Lossy(Queues):
        def hand_over(self, *where: str, **how: int) -> None:
            super().hand_over(*where, **how)
            self.away = True

    handover.try_hand_over(each_house.database, Lossy())
    assert [bool(row(each_house, job).handed_over_at) for job in sorted(jobs)] == [True, False]


def test_what_redis_lost_is_handed_over_again_without_using_up_an_attempt(
    each_house, jobs: list[str]
) -> None:
    queues = Queues()
    for number in (1, 2, 3):
        handover.hand_over_waiting(each_house.database, queues)
        assert handover.take_back_lost(each_house.database, queues, timedelta(0)) == []
        queues.held.clear()
        assert sorted(handover.take_back_lost(each_house.database, queues, timedelta(0))) == sorted(jobs)
        assert {(row(each_house, job).attempt, row(each_house, job).hand_over) for job in jobs} == {
            (1, number)
        }


def test_a_fresh_hand_over_is_given_time(each_house, jobs: list[str]) -> None:
    queues = Queues()
    handover.hand_over_waiting(each_house.database, queues)
    queues.held.clear()
    assert handover.take_back_lost(each_house.database, queues, timedelta(seconds=60)) == []


def test_what_is_claimed_is_not_taken_back(each_house, jobs: list[str]) -> None:
    queues = Queues()
    handover.hand_over_waiting(each_house.database, queues)
    each_house.claim(jobs[0])
    queues.held.clear()
    assert handover.take_back_lost(each_house.database, queues, timedelta(0)) == [jobs[1]]


def test_a_worker_that_is_quicker_than_the_note_of_its_hand_over_is_left_alone(
    each_house, jobs: list[str]
) -> None:
    class Quick(Queues):
        def hand_over(self, queue: str, function: str, work_id: str, *rest: int, **more: int) -> None:
            super().hand_over(queue, function, work_id, *rest, **more)
            each_house.claim(work_id)

    handover.hand_over_waiting(each_house.database, Quick())
    assert {row(each_house, job).state for job in jobs} == {State.RUNNING}


def test_a_new_attempt_is_handed_over_anew(each_house, jobs: list[str]) -> None:
    queues = Queues()
    handover.hand_over_waiting(each_house.database, queues)
    each_house.claim(jobs[0])
    with each_house.database.begin() as session:
        claims.requeue(session, Job, jobs[0], 1)
    handover.hand_over_waiting(each_house.database, queues)
    assert (jobs[0], 2, 1) in queues.held


def test_tasks_go_to_control_workers(each_house) -> None:
    each_house.built(each_house.source())
    queues = Queues()
    handover.hand_over_waiting(each_house.database, queues)
    assert queues.calls == [("publish", handover.FUNCTIONS[Task])]


def test_a_job_that_no_queue_takes_ends_and_holds_up_no_other(each_house, jobs: list[str]) -> None:
    with each_house.database.begin() as session:
        session.get_one(Job, jobs[0]).queue = "build.no such queue"
    queues = Queues()
    assert handover.hand_over_waiting(each_house.database, queues) == 1
    assert queues.held == {(jobs[1], 1, 1)}
    ended = row(each_house, jobs[0])
    assert (ended.state, ended.cause) == (State.FAILED, Cause.INFRASTRUCTURE)
    assert ended.first_error == (
        "It could not be handed to a worker: There is no queue 'build.no such queue'."
    )
    each_house.finish(each_house.claim(jobs[1]))
    assert each_house.state(ended.build_id) == State.FAILED
    assert handover.hand_over_waiting(each_house.database, queues) == 0


def test_a_task_that_no_queue_takes_ends_its_build(each_house, jobs: list[str]) -> None:
    build_id = each_house.built(each_house.source("other", projects=()))
    with each_house.database.begin() as session:
        session.query(Task).filter_by(subject=build_id, kind="publish").one().queue = "nowhere"
    queues = Queues()
    assert handover.hand_over_waiting(each_house.database, queues) == 2
    with each_house.database.read() as session:
        build = session.get_one(Build, build_id)
        assert (build.state, build.cause) == (State.FAILED, Cause.INFRASTRUCTURE)
        assert "no queue 'nowhere'" in build.first_error
