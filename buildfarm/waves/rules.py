"""States of a wave and of its members, and what follows from them. Pure.

A member is built again because the trigger concerns it itself (`is_first`), or because something it needs
came out different. One that waits for nothing different is not built: the early cut-off.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from buildfarm.farm.rules import State


class WaveState(StrEnum):
    """Where a wave is: `ready` when all its members are through."""

    RUNNING = "running"
    READY = "ready"
    PROMOTED = "promoted"
    CANCELLED = "cancelled"


class MemberState(StrEnum):
    """What became of a member; `rebuilt`: its new files are in the candidate channel."""

    WAITING = "waiting"
    BUILDING = "building"
    REBUILT = "rebuilt"
    EQUAL = "equal"
    UNNEEDED = "unneeded"
    FAILED = "failed"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"


M = MemberState
#: Builds of one wave that are queued or run at a time: enough for a dozen builders, and no flood.
AT_ONCE = 20
THROUGH = frozenset(M) - {M.WAITING, M.BUILDING}
#: Ends after which what needs the member is not built.
BROKEN = frozenset({M.FAILED, M.SKIPPED, M.CANCELLED})
_ENDS = {
    State.PUBLISHED: M.REBUILT,
    State.COMPARED: M.EQUAL,
    State.FAILED: M.FAILED,
    State.CANCELLED: M.CANCELLED,
}


@dataclass(frozen=True)
class Standing:
    """A member as decisions see it: `waits_for` are other members."""

    state: MemberState
    is_first: bool
    waits_for: frozenset[str]


def end_of(build: State) -> MemberState:
    """The state of a member by that of its build."""
    return _ENDS.get(build, M.BUILDING)


def next_of(members: Mapping[str, Standing]) -> dict[str, MemberState]:
    """What becomes of waiting members now: `building` for those that are to be started, in their order.

    Nothing is said of members that go on waiting, be it that `AT_ONCE` are being built.
    """
    now = {name: one.state for name, one in members.items()}
    found: dict[str, MemberState] = {}
    room = AT_ONCE - sum(state is M.BUILDING for state in now.values())
    moved = True
    while moved:  # what is skipped or not needed decides at once about what waits for it
        moved = False
        for name, one in members.items():
            if now[name] is not M.WAITING:
                continue
            after = _after(one, [now[other] for other in one.waits_for])
            if after is None or (after is M.BUILDING and room <= 0):
                continue
            now[name] = found[name] = after
            room -= after is M.BUILDING
            moved = True
    return found


def _after(one: Standing, needs: Sequence[MemberState]) -> MemberState | None:
    if not set(needs) <= THROUGH:
        return None
    if BROKEN & set(needs):
        return M.SKIPPED
    return M.BUILDING if one.is_first or M.REBUILT in needs else M.UNNEEDED


def makespan(levels: Iterable[Iterable[float]], slots: int) -> float:
    """Seconds until all jobs are done, level by level, each taken by the slot that is free first."""
    total = 0.0
    for jobs in levels:
        busy = [0.0] * max(1, slots)
        for seconds in sorted(jobs, reverse=True):
            heapq.heapreplace(busy, busy[0] + seconds)
        total += max(busy)
    return total
