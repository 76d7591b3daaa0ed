"""Builds and jobs through their real verbs, on both databases."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import event, select, update

from buildfarm import clock
from buildfarm.access.rules import Principal
from buildfarm.errors import Conflict, ExternalFailure, Forbidden, NotFound, StaleAttempt, Unauthenticated
from buildfarm.farm import builds, claims, jobs, keeper, leases, registry
from buildfarm.farm.model import Attempt, Build, Builder, Job, Lease, Task
from buildfarm.farm.rules import BUILD, FINAL, JOB, Cause, State

T1, T2, T3 = (f"cp31{n}-manylinux_2_28_x86_64" for n in (1, 2, 3))


def job_state(house, job_id: str) -> tuple[str, int]:
    with house.database.read() as session:
        job = session.get_one(Job, job_id)
        return job.state, job.attempt


def together(*calls: Callable[[], object]) -> list[object]:
    """Run at once; what each returned or raised."""
    barrier, results = threading.Barrier(len(calls)), [None] * len(calls)

    def run(index: int, call: Callable[[], object]) -> None:
        barrier.wait()
        try:
            results[index] = call()
        except Exception as err:  # noqa: BLE001
            results[index] = err

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return results


def test_a_claim_is_given_once(each_house) -> None:
    build_id, made = each_house.build(each_house.source(), T1)
    each_house.claim(made[T1])  # makes the builder
    with each_house.database.begin() as session:
        claims.requeue(session, Job, made[T1], 1)
    results = together(*[lambda: each_house.claim(made[T1], 2)] * 5)
    won = [result for result in results if isinstance(result, str)]
    assert len(won) == 1
    assert all(isinstance(result, StaleAttempt) for result in results if result not in won)
    assert each_house.state(build_id) == State.RUNNING


def test_two_jobs_that_end_at_once_complete_their_build(each_house) -> None:
    for _ in range(4):
        build_id, made = each_house.build(each_house.source(f"s{each_house.count}", projects=()), T1, T2, T3)
        tokens = [each_house.claim(job) for job in made.values()]
        results = together(*[lambda token=token: each_house.finish(token) for token in tokens])
        assert results == [State.SUCCEEDED] * 3
        assert each_house.state(build_id) == State.BUILT
        with each_house.database.read() as session:
            kinds = session.scalars(select(Task.kind).where(Task.subject == build_id)).all()
        assert sorted(kinds) == ["fetch", "publish"]


def test_cancel_and_finish_at_once_agree(each_house) -> None:
    for _ in range(4):
        build_id, made = each_house.build(each_house.source(f"s{each_house.count}", projects=()), T1, T2)
        token = each_house.claim(made[T1])

        def cancel(build_id: str = build_id) -> str:
            with each_house.database.begin() as session:
                return builds.cancel(session, build_id, actor="ada").state

        results = together(cancel, lambda token=token: each_house.finish(token))
        assert [result for result in results if isinstance(result, Exception)] == []
        assert each_house.state(build_id) == State.CANCELLED
        assert job_state(each_house, made[T2])[0] == State.CANCELLED


def test_builds_of_one_source_are_numbered_in_a_row(each_house) -> None:
    source = each_house.source()

    def start() -> int:
        with each_house.database.begin() as session:
            found = session.get_one(builds.Source, source)
            return builds.start(
                session, found, ref="refs/heads/main", commit=None, trigger="t", actor=None
            ).number

    assert sorted(together(*[start] * 6)) == [1, 2, 3, 4, 5, 6]


def test_an_attempts_token_is_good_for_that_attempt_alone(each_house) -> None:
    _, made = each_house.build(each_house.source(), T1)
    old = each_house.claim(made[T1])
    assert each_house.finish(old, "failed", cause="infrastructure") == State.QUEUED
    new = each_house.claim(made[T1], 2)
    assert job_state(each_house, made[T1]) == (State.RUNNING, 2)
    for use in (each_house.finish, lambda token: each_house.artifact(token, "x.whl", b"late")):
        with pytest.raises(StaleAttempt):
            use(old)
    with pytest.raises(Unauthenticated):
        each_house.finish("bft_unknown")
    assert each_house.finish(new) == State.SUCCEEDED
    with pytest.raises(StaleAttempt):
        each_house.finish(new)


def test_infrastructure_gets_a_bounded_number_of_tries_and_user_code_none(each_house) -> None:
    build_id, made = each_house.build(each_house.source(), T1, T2)
    for number in (1, 2):
        token = each_house.claim(made[T1], number)
        assert each_house.finish(token, "failed", cause="infrastructure", first_error="disk") == State.QUEUED
    token = each_house.claim(made[T1], 3)
    assert each_house.finish(token, "failed", cause="infrastructure", first_error="disk") == State.FAILED
    token = each_house.claim(made[T2])
    assert each_house.finish(token, "failed", cause="user_code", first_error="no such header") == State.FAILED
    with each_house.database.read() as session:
        build = session.get_one(Build, build_id)
        assert (build.state, build.cause) == (State.FAILED, Cause.INFRASTRUCTURE)
        assert build.first_error == f"{T1}: disk"
        assert session.scalars(select(Attempt.state).order_by(Attempt.number)).all().count("failed") == 4


def test_a_builder_claims_its_tiers_alone_and_only_with_its_own_token(each_house) -> None:
    _, made = each_house.build(each_house.source(), T1)
    with each_house.database.begin() as session:
        builder, _ = registry.add_builder(session, "other", ["release"], actor="test")
        session.flush()
        with pytest.raises(Forbidden):
            jobs.claim(
                session, builder, Principal("tok_x", "other", frozenset({"builder:release"})), made[T1], 1
            )
        with pytest.raises(NotFound):
            jobs.claim(session, builder, Principal("tok_x", "other", frozenset({"admin"})), "job_none", 1)
        with pytest.raises(Forbidden):
            registry.builder_of(session, Principal("tok_elsewhere", "x", frozenset({"admin"})))


def test_a_builder_that_joins_again_gets_a_new_token_even_when_the_old_was_revoked(each_house) -> None:
    for _ in range(2):
        with each_house.database.begin() as session:
            builder, value = registry.add_builder(session, "one", ["dev"], actor="test")
            old = builder.token_id
    with each_house.database.begin() as session:
        registry.tokens.revoke(session, old, actor="ada")
    with each_house.database.begin() as session:
        builder, value = registry.add_builder(session, "one", ["dev", "release"], actor="test")
        assert value
        assert builder.token_id != old
        assert builder.tiers == ["dev", "release"]
    with each_house.database.read() as session:
        assert len(session.scalars(select(Builder)).all()) == 1


def silence(house, kind: type[Job | Task], work_id: str) -> None:
    with house.database.begin() as session:
        session.execute(
            update(kind).where(kind.id == work_id).values(heartbeat_at=clock.now() - timedelta(hours=1))
        )


class Away:
    """Queues whose Redis is away."""

    def hand_over(self, *_args: object, **_more: object) -> None:
        raise ExternalFailure("away", code="queue.unreachable")

    holds = hand_over


LONG_AGO = timedelta(hours=2)


def answering(
    house, role: str = "web/one", *, since: timedelta = LONG_AGO, ago: timedelta = timedelta()
) -> None:
    """A role that was taken `since` ago, without a gap, and renewed `ago`."""
    now = clock.now()
    with house.database.begin() as session:
        session.merge(
            Lease(name=role, holder="one", since=now - since, until=now - ago + timedelta(seconds=15))
        )


def sweep(house, *, web: bool = True) -> None:
    """A round of a keeper that has been there for long, as the web node has."""
    answering(house, leases.KEEPER)
    if web:
        answering(house)
    keeper.sweep(house.database, Away(), house.farm.settings)


def test_a_silent_builder_loses_its_job_to_the_next_attempt(each_house) -> None:
    _, made = each_house.build(each_house.source(), T1)
    token = each_house.claim(made[T1])
    sweep(each_house)
    assert job_state(each_house, made[T1]) == (State.RUNNING, 1)
    silence(each_house, Job, made[T1])
    sweep(each_house)
    assert job_state(each_house, made[T1]) == (State.QUEUED, 2)
    with pytest.raises(StaleAttempt):
        each_house.finish(token)


@pytest.mark.parametrize("back_for", [None, 10])
def test_silence_does_not_count_while_no_web_node_answered(each_house, back_for: int | None) -> None:
    """Web was away for an hour, and is away still or back for some seconds."""
    _, made = each_house.build(each_house.source(), T1)
    token = each_house.claim(made[T1])
    silence(each_house, Job, made[T1])
    if back_for is None:
        answering(each_house, ago=timedelta(hours=1))
    else:
        answering(each_house, since=timedelta(seconds=back_for))
        answering(each_house, "web/two", since=timedelta(seconds=1))
    sweep(each_house, web=False)
    assert job_state(each_house, made[T1]) == (State.RUNNING, 1)
    assert each_house.finish(token) == State.SUCCEEDED


def test_silence_counts_when_web_has_answered_again_for_as_long_as_a_lease(each_house) -> None:
    _, made = each_house.build(each_house.source(), T1)
    each_house.claim(made[T1])
    silence(each_house, Job, made[T1])
    answering(each_house, since=timedelta(seconds=each_house.farm.settings.timing.lease_s + 1))
    sweep(each_house, web=False)
    assert job_state(each_house, made[T1]) == (State.QUEUED, 2)


def test_a_deadline_that_passed_while_web_was_away_leaves_time_to_report(each_house) -> None:
    _, made = each_house.build(each_house.source(), T1)
    token = each_house.claim(made[T1])
    with each_house.database.begin() as session:
        session.get_one(Job, made[T1]).deadline_at = clock.now() - timedelta(minutes=30)
    answering(each_house, since=timedelta(minutes=1))
    sweep(each_house, web=False)
    assert each_house.finish(token) == State.SUCCEEDED


def test_a_job_that_only_keeps_talking_is_ended_after_its_deadline(each_house) -> None:
    build_id, made = each_house.build(each_house.source(), T1)
    each_house.claim(made[T1])
    with each_house.database.begin() as session:
        session.get_one(Job, made[T1]).deadline_at = clock.now() - timedelta(seconds=1)
    sweep(each_house)
    assert job_state(each_house, made[T1])[0] == State.TIMED_OUT
    with each_house.database.read() as session:
        build = session.get_one(Build, build_id)
        assert (build.state, build.cause) == (State.FAILED, Cause.LIMIT)


def test_two_keepers_at_once_take_a_job_back_once(each_house) -> None:
    _, made = each_house.build(each_house.source(), T1, T2, T3)
    for job_id in made.values():
        each_house.claim(job_id)
        silence(each_house, Job, job_id)
    answering(each_house, leases.KEEPER)
    answering(each_house)

    def go_round() -> None:
        keeper.sweep(each_house.database, Away(), each_house.farm.settings)

    assert together(go_round, go_round) == [None, None]
    assert {job_state(each_house, job_id) for job_id in made.values()} == {(State.QUEUED, 2)}


def test_a_silent_worker_loses_its_task_and_at_last_its_build(each_house) -> None:
    source = each_house.source()
    with each_house.database.begin() as session:
        found = session.get_one(builds.Source, source)
        build_id = builds.start(
            session, found, ref="refs/heads/main", commit=None, trigger="t", actor=None
        ).id
    for number in range(1, 4):
        with each_house.database.begin() as session:
            task = session.scalars(select(Task).where(Task.subject == build_id)).one()
            assert task.attempt == number
            claims.claim(session, Task, task.id, number)
        silence(each_house, Task, task.id)
        sweep(each_house)
    with each_house.database.read() as session:
        build = session.get_one(Build, build_id)
        assert (build.state, build.cause, build.first_error) == (
            State.FAILED, Cause.INFRASTRUCTURE, "The worker fell silent.",
        )  # fmt: skip


def test_work_that_waits_is_put_down_without_using_up_an_attempt(each_house) -> None:
    house = each_house
    source = house.source()
    with house.database.begin() as session:
        found = session.get_one(builds.Source, source)
        build = builds.start(session, found, ref="refs/heads/main", commit=None, trigger="t", actor=None)
        session.flush()
        task = session.scalars(select(Task).where(Task.subject == build.id)).one()
    with house.database.begin() as session:
        claims.claim(session, Task, task.id, 1)
        claims.put_down(session, Task, task.id, 1)
    with house.database.read() as session:
        waiting = session.get_one(Task, task.id)
        assert (waiting.state, waiting.attempt, waiting.handed_over_at) == (State.QUEUED, 1, None)
        assert waiting.hand_over == 1  # whoever handed it over had not noted that
    with house.database.begin() as session, pytest.raises(StaleAttempt):
        claims.put_down(session, Task, task.id, 1)


def test_one_keeper_holds_the_lease_until_it_lapses(each_house) -> None:
    hold = lambda who, seconds: leases.hold(each_house.database, leases.KEEPER, who, seconds)  # noqa: E731
    assert hold("a", 60)
    assert hold("a", 60)
    assert not hold("b", 60)
    assert hold("a", -1)
    assert hold("b", 60)
    assert not hold("a", 60)


def test_of_many_keepers_one_gets_the_lease(each_house) -> None:
    hold = lambda who: leases.hold(each_house.database, leases.KEEPER, who, 60)  # noqa: E731
    results = together(*[lambda n=n: hold(f"k{n}") for n in range(5)])
    assert sorted(results) == [False] * 4 + [True]


def test_a_lease_renewed_in_time_keeps_its_beginning_and_one_renewed_late_begins_anew(each_house) -> None:
    database, role = each_house.database, leases.web_of("one")

    def since():
        with database.read() as session:
            return leases.answered_since(session)

    assert since() is None
    leases.hold(database, role, "one", 60)
    first = since()
    leases.hold(database, role, "one", 60)
    assert since() == first
    leases.hold(database, role, "one", -1)
    assert since() is None
    leases.hold(database, role, "one", 60)
    assert since() > first


def test_cancelling_ends_what_waits_and_tells_what_runs(each_house) -> None:
    build_id, made = each_house.build(each_house.source(), T1, T2)
    token = each_house.claim(made[T1])
    with each_house.database.begin() as session:
        attempt, _ = jobs.attempt_of_token(session, token)
        assert jobs.heartbeat(session, attempt, "build")
        builds.cancel(session, build_id, actor="ada")
    assert job_state(each_house, made[T2])[0] == State.CANCELLED
    with each_house.database.begin() as session:
        attempt, _ = jobs.attempt_of_token(session, token)
        assert not jobs.heartbeat(session, attempt, "build")
    assert each_house.finish(token, "failed", cause="infrastructure") == State.CANCELLED
    assert each_house.state(build_id) == State.CANCELLED
    with pytest.raises(Conflict), each_house.database.begin() as session:
        builds.cancel(session, build_id, actor="ada")


def test_a_build_that_was_never_planned_is_cancelled_with_its_task(each_house) -> None:
    source = each_house.source()
    with each_house.database.begin() as session:
        found = session.get_one(builds.Source, source)
        build_id = builds.start(
            session, found, ref="refs/heads/main", commit=None, trigger="t", actor=None
        ).id
        task = session.scalars(select(Task).where(Task.subject == build_id)).one()
        claims.claim(session, Task, task.id, 1)
    with each_house.database.begin() as session:
        builds.cancel(session, build_id, actor="ada")
    with pytest.raises(StaleAttempt), each_house.database.begin() as session:
        claims.finish(session, Task, task.id, 1, State.SUCCEEDED)
    assert each_house.state(build_id) == State.CANCELLED


def test_a_build_that_is_being_published_cannot_be_cancelled(each_house) -> None:
    build_id = each_house.built(each_house.source())
    with pytest.raises(Conflict) as caught, each_house.database.begin() as session:
        builds.cancel(session, build_id, actor="ada")
    assert caught.value.code == "build.over"


def test_the_same_artifact_again_is_nothing_and_other_bytes_are_refused(each_house) -> None:
    _, made = each_house.build(each_house.source(), T1)
    token = each_house.claim(made[T1])
    each_house.artifact(token, "a.whl", b"one")
    each_house.artifact(token, "a.whl", b"one")
    with pytest.raises(Conflict) as caught:
        each_house.artifact(token, "a.whl", b"two")
    assert caught.value.code == "artifact.differs"


# Random lives ---------------------------------------------------------------------------------------

EVENTS = st.lists(
    st.tuples(
        st.sampled_from(
            ["claim", "finish", "fail", "lose", "time_out", "cancel", "stale_finish", "heartbeat", "requeue"]
        ),
        st.integers(0, 2),
    ),
    max_size=25,
)


@pytest.fixture
def steps(house) -> Iterator[list[tuple[str, str, str]]]:
    """Every change of a state that reaches the database, by comparing before and after each commit."""
    known: dict[tuple[str, str], str] = {}
    seen: list[tuple[str, str, str]] = []

    @event.listens_for(house.database.engine, "commit")
    def compare(connection) -> None:
        for kind in (Job, Build):
            for work_id, state in connection.execute(select(kind.id, kind.state)):
                key = (kind.__tablename__, work_id)
                old = known.get(key)
                if old is not None and old != state:
                    seen.append((kind.__tablename__, old, state))
                known[key] = state

    yield seen
    event.remove(house.database.engine, "commit", compare)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(events=EVENTS)
def test_no_life_of_jobs_leaves_the_tables(house, steps, events: list[tuple[str, int]]) -> None:
    source = house.source(f"s{secrets.token_hex(4)}", projects=())
    build_id, made = house.build(source, T1, T2, optional=(T3,))
    ids, tokens = list(made.values()), dict.fromkeys(range(3), "")
    steps.clear()
    for name, index in events:
        job_id = ids[index]
        number = job_state(house, job_id)[1]
        try:
            match name:
                case "claim":
                    tokens[index] = house.claim(job_id, number)
                case "finish":
                    house.finish(tokens[index])
                case "fail":
                    house.finish(tokens[index], "failed", cause="user_code" if index else "infrastructure")
                case "stale_finish":
                    with house.database.begin() as session:
                        claims.finish(session, Job, job_id, number - 1, State.SUCCEEDED)
                case "lose" | "time_out":
                    with house.database.begin() as session:
                        job = session.get_one(Job, job_id)
                        if session.get(Attempt, (job_id, job.attempt)):
                            jobs.lose(session, job, attempts_max=3) if name == "lose" else jobs.time_out(
                                session, job
                            )
                case "heartbeat":
                    with house.database.begin() as session:
                        claims.heartbeat(session, Job, job_id, number)
                case "requeue":
                    with house.database.begin() as session:
                        claims.requeue(session, Job, job_id, number)
                case "cancel":
                    with house.database.begin() as session:
                        builds.cancel(session, build_id, actor="x")
        except (StaleAttempt, Conflict, Unauthenticated):
            pass
    for kind, old, new in steps:
        machine = JOB if kind == "job" else BUILD
        assert State(old) not in FINAL
        assert State(new) in machine[State(old)]
    states = [job_state(house, job_id)[0] for job_id in ids]
    if all(State(state) in FINAL for state in states):
        assert house.state(build_id) in FINAL | {State.BUILT}
