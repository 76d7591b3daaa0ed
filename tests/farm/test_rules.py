from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildfarm.errors import Conflict
from buildfarm.farm.rules import BUILD, FINAL, JOB, State, advance, fold

STATES = [*JOB, State.SUCCEEDED, State.FAILED, State.TIMED_OUT, State.CANCELLED, State.SKIPPED]
JOBS = st.lists(st.tuples(st.sampled_from(STATES), st.booleans()), min_size=1, max_size=8)


@pytest.mark.parametrize("machine", [JOB, BUILD])
@given(wishes=st.lists(st.sampled_from(State), max_size=30))
def test_no_sequence_leaves_the_table_or_a_final_state(machine: dict, wishes: list[State]) -> None:
    state = next(iter(machine))
    for wish in wishes:
        try:
            new = advance(machine, state, wish)
        except Conflict:
            assert wish not in machine.get(state, ())
        else:
            assert state not in FINAL
            assert new in machine[state]
            state = new


@pytest.mark.parametrize("machine", [JOB, BUILD])
def test_every_state_of_a_machine_leads_to_an_end(machine: dict) -> None:
    reached, todo = set(), list(machine)
    while todo:
        state = todo.pop()
        if state not in reached:
            reached.add(state)
            todo += machine.get(state, ())
    assert {state for state in reached if state not in machine} <= FINAL
    assert all(machine[state] for state in machine)


@given(JOBS, st.randoms(use_true_random=False))
def test_the_order_of_jobs_plays_no_part(jobs: list[tuple[State, bool]], shuffle: random.Random) -> None:
    mixed = list(jobs)
    shuffle.shuffle(mixed)
    assert fold(mixed) == fold(jobs)


@given(JOBS)
def test_a_build_ends_when_its_last_job_does(jobs: list[tuple[State, bool]]) -> None:
    ended = all(state in FINAL for state, _ in jobs)
    assert (fold(jobs) in FINAL | {State.BUILT}) == ended


@given(JOBS)
def test_nothing_is_built_without_its_required_jobs(jobs: list[tuple[State, bool]]) -> None:
    if fold(jobs) == State.BUILT:
        assert all(state in {State.SUCCEEDED, State.SKIPPED} for state, required in jobs if required)
        assert any(state == State.SUCCEEDED for state, _ in jobs)


@pytest.mark.parametrize(
    ("jobs", "build"),
    [
        ([("waiting", True), ("queued", True)], "queued"),
        ([("queued", True), ("succeeded", True)], "running"),
        ([("succeeded", True), ("failed", False)], "built"),
        ([("succeeded", False), ("failed", True)], "failed"),
        ([("failed", True), ("cancelled", True)], "failed"),
        ([("succeeded", True), ("cancelled", True)], "cancelled"),
        ([("cancelled", False), ("cancelled", False)], "cancelled"),
        ([("cancelled", False), ("skipped", True)], "cancelled"),
        ([("failed", False), ("cancelled", False)], "failed"),
        ([("skipped", True)], "failed"),
        ([("succeeded", True), ("timed_out", True)], "failed"),
        ([("succeeded", True), ("skipped", True)], "built"),
    ],
)
def test_the_fold_by_example(jobs: list[tuple[str, bool]], build: str) -> None:
    assert fold((State(state), required) for state, required in jobs) == build
