"""What follows from the states of members."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildfarm.farm.rules import FINAL, State
from buildfarm.waves import rules
from buildfarm.waves.rules import MemberState as M
from buildfarm.waves.rules import Standing

#: Members that wait for earlier ones alone, in any states.
waves = st.lists(
    st.tuples(st.sampled_from(M), st.booleans(), st.sets(st.integers(0, 7))), min_size=1, max_size=8
).map(
    lambda drawn: {
        str(place): Standing(state, is_first, frozenset(str(one) for one in waits if one < place))
        for place, (state, is_first, waits) in enumerate(drawn)
    }
)


@given(waves)
def test_a_member_begins_when_all_it_waits_for_is_through_and_something_is_new(members) -> None:
    after = rules.next_of(members)
    now = {name: after.get(name, one.state) for name, one in members.items()}
    for name, one in members.items():
        needs = {now[other] for other in one.waits_for}
        if one.state is not M.WAITING or not needs <= rules.THROUGH:
            assert name not in after
        elif needs & rules.BROKEN:
            assert after[name] is M.SKIPPED
        elif one.is_first or M.REBUILT in needs:
            assert after[name] is M.BUILDING
        else:
            assert after[name] is M.UNNEEDED


@given(waves, st.integers(1, 3), st.lists(st.sampled_from([M.REBUILT, M.EQUAL, M.FAILED])), st.data())
def test_a_wave_comes_to_its_end_with_no_more_builds_at_a_time_than_it_may(members, room, ends, data) -> None:
    members = {name: replace(one, state=M.WAITING) for name, one in members.items()}
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(rules, "AT_ONCE", room)
        while not all(one.state in rules.THROUGH for one in members.values()):
            for name, state in rules.next_of(members).items():
                members[name] = replace(members[name], state=state)
            building = [name for name, one in members.items() if one.state is M.BUILDING]
            assert len(building) <= room
            if building:  # one of them ends, whichever
                name = data.draw(st.sampled_from(building))
                members[name] = replace(members[name], state=ends.pop() if ends else M.EQUAL)
            else:
                assert all(one.state in rules.THROUGH for one in members.values())


@given(waves)
def test_a_wave_never_stands_still(members) -> None:
    """As long as something waits, something builds: nothing is forgotten."""
    after = rules.next_of(members)
    now = {name: after.get(name, one.state) for name, one in members.items()}
    assert M.WAITING not in now.values() or M.BUILDING in now.values()


def test_every_end_of_a_build_is_one_of_its_member() -> None:
    ends = {State.PUBLISHED, State.COMPARED, State.FAILED, State.CANCELLED}
    assert all(rules.end_of(state) in rules.THROUGH for state in ends)
    assert {rules.end_of(state) for state in set(State) - FINAL} == {M.BUILDING}


def test_minutes_are_those_of_the_slot_that_is_done_last() -> None:
    assert rules.makespan([[30, 20, 10], [5]], slots=2) == 35
    assert rules.makespan([[30, 20, 10], [5]], slots=1) == 65
    assert rules.makespan([[30, 20], [5]], slots=0) == 55
    assert rules.makespan([], slots=3) == 0
