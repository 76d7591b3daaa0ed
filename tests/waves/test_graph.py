"""The order of building, held to its definition on graphs of every shape."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from buildfarm.waves import graph

NAMES = "abcdefgh"
graphs = st.dictionaries(st.sampled_from(NAMES), st.frozensets(st.sampled_from(NAMES))).map(
    lambda drawn: {name: drawn.get(name, frozenset()) for name in NAMES}
)


def reaches(needs, one: str, other: str) -> bool:
    """Whether `one` needs `other`, directly or through others: by steps, not by search."""
    found = set(needs[one])
    for _ in NAMES:
        found |= {far for near in found for far in needs[near]}
    return other in found


@given(graphs)
def test_every_project_is_on_one_level_and_what_it_waits_for_is_below(needs) -> None:
    levels = graph.levels(needs)
    place = {name: number for number, level in enumerate(levels) for name in level}
    assert sorted(name for level in levels for name in level) == sorted(NAMES)
    for name, waits in graph.waits_for(needs).items():
        assert all(place[one] < place[name] for one in waits)


@given(graphs)
def test_only_projects_in_one_circle_do_not_wait_for_each_other(needs) -> None:
    for name, waits in graph.waits_for(needs).items():
        assert waits == {one for one in needs[name] if one != name and not reaches(needs, one, name)}


@given(graphs)
def test_projects_share_a_circle_when_each_reaches_the_other(needs) -> None:
    together = {(one, other) for group in graph.cycles(needs) for one in group for other in group}
    for one in NAMES:
        for other in set(NAMES) - {one}:
            both = reaches(needs, one, other) and reaches(needs, other, one)
            assert ((one, other) in together) == both


@given(graphs, st.frozensets(st.sampled_from(NAMES)))
def test_what_reaches_the_first_ones_is_concerned(needs, first) -> None:
    wanted = {name for name in NAMES if name in first or any(reaches(needs, name, one) for one in first)}
    assert graph.concerned(needs, first) == wanted


@given(graphs, st.frozensets(st.sampled_from(NAMES)))
def test_a_part_of_a_graph_names_nobody_else(needs, members) -> None:
    inner = graph.within(needs, members)
    assert inner.keys() == members
    assert all(inner[name] == (needs[name] & members) - {name} for name in members)
