"""States of builds and jobs: two tables of data, one `advance()`, and the fold of jobs into a build."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from enum import StrEnum

from buildfarm.errors import Conflict


class State(StrEnum):
    """Where a build or a job is."""

    WAITING = "waiting"
    QUEUED = "queued"
    RUNNING = "running"
    BUILT = "built"
    PUBLISHED = "published"
    COMPARED = "compared"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"


class Cause(StrEnum):
    """Whose fault an end without success is."""

    USER_CODE = "user_code"
    CHECKS = "checks"
    LIMIT = "limit"
    INFRASTRUCTURE = "infrastructure"
    POLICY = "policy"


S = State
FINAL = frozenset({S.PUBLISHED, S.COMPARED, S.SUCCEEDED, S.FAILED, S.TIMED_OUT, S.CANCELLED, S.SKIPPED})

JOB: Mapping[State, frozenset[State]] = {
    S.WAITING: frozenset({S.QUEUED, S.CANCELLED, S.SKIPPED}),
    S.QUEUED: frozenset({S.RUNNING, S.FAILED, S.CANCELLED}),
    # running -> queued: a new attempt, for infrastructure causes alone
    S.RUNNING: frozenset({S.QUEUED, S.SUCCEEDED, S.FAILED, S.TIMED_OUT, S.CANCELLED}),
}
BUILD: Mapping[State, frozenset[State]] = {
    S.QUEUED: frozenset({S.RUNNING, S.BUILT, S.FAILED, S.CANCELLED}),
    S.RUNNING: frozenset({S.BUILT, S.FAILED, S.CANCELLED}),
    # compared: the end of a build that repeats another one, whatever the comparison found
    S.BUILT: frozenset({S.PUBLISHED, S.COMPARED, S.FAILED}),
}


def advance(machine: Mapping[State, frozenset[State]], old: State, new: State) -> State:
    """The new state.

    Raises:
        Conflict: `state.invalid`, the machine has no such step.
    """
    if new not in machine.get(old, frozenset()):
        raise Conflict(f"What is {old} cannot become {new}.", code="state.invalid")
    return new


def fold(jobs: Iterable[tuple[State, bool]]) -> State:
    """The state of a build before publishing, from (state, required) of its jobs; order plays no part.

    A build is built when every job ended, all required ones well and at least one at all.
    """
    pairs = list(jobs)
    every = {state for state, _ in pairs}
    required = {state for state, is_required in pairs if is_required}
    if not every <= FINAL:
        return S.QUEUED if every <= {S.QUEUED, S.WAITING} else S.RUNNING
    if required & {S.FAILED, S.TIMED_OUT}:
        return S.FAILED
    if S.CANCELLED in required:
        return S.CANCELLED
    if S.SUCCEEDED in every:
        return S.BUILT
    return S.CANCELLED if S.CANCELLED in every and every <= {S.CANCELLED, S.SKIPPED} else S.FAILED


def is_silent(
    state: str, beat: datetime | None, heard_since: datetime, now: datetime, patience: timedelta
) -> bool:
    """Whether the holder of running work has fallen silent.

    Its silence counts from its last beat, or from the moment since which beats have been heard without
    a gap, whichever is later: while nobody could have heard it, nobody can say that it was silent.
    """
    return state == State.RUNNING and beat is not None and max(beat, heard_since) < now - patience
