"""Who needs whom, and in which order that is built. Pure: names in, names out.

A graph maps each project to the projects that it needs. Projects that need each other in a circle cannot be
put in order: they stand on one level, and none of them waits for another.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Set
from graphlib import TopologicalSorter

Graph = Mapping[str, Set[str]]


def concerned(graph: Graph, first: Iterable[str]) -> set[str]:
    """`first`, and everything that needs one of them, directly or through others."""
    needed_by: defaultdict[str, set[str]] = defaultdict(set)
    for project, needs in graph.items():
        for one in needs:
            needed_by[one].add(project)
    return _reached(needed_by, first)


def within(graph: Graph, members: Collection[str]) -> dict[str, frozenset[str]]:
    """The graph of these projects alone; nobody needs itself."""
    return {one: frozenset((graph.get(one, frozenset()) & set(members)) - {one}) for one in members}


def cycles(graph: Graph) -> list[tuple[str, ...]]:
    """The groups of projects that need each other in a circle, each sorted."""
    return sorted(group for group in set(_groups(graph).values()) if len(group) > 1)


def waits_for(graph: Graph) -> dict[str, frozenset[str]]:
    """What each project waits for: what it needs, but for those that need it too."""
    group = _groups(graph)
    return {
        project: frozenset(one for one in needs if group[one] != group[project])
        for project, needs in graph.items()
    }


def levels(graph: Graph) -> list[tuple[str, ...]]:
    """The projects in the order of building: all that one waits for are on levels before its own.

    The graph is closed: whatever is needed is one of its projects.
    """
    group = _groups(graph)
    order: TopologicalSorter[tuple[str, ...]] = TopologicalSorter(dict.fromkeys(group.values(), ()))
    for project, needs in waits_for(graph).items():
        order.add(group[project], *(group[one] for one in needs))
    order.prepare()
    found = []
    while order.is_active():
        ready = order.get_ready()
        found.append(tuple(sorted(project for one in ready for project in one)))
        order.done(*ready)
    return found


def _groups(graph: Graph) -> dict[str, tuple[str, ...]]:
    """For each project all that reach it and are reached by it, itself among them."""
    reach = {project: _reached(graph, [project]) for project in graph}
    return {
        project: tuple(sorted(one for one in reached if project in reach[one]))
        for project, reached in reach.items()
    }


def _reached(edges: Graph, first: Iterable[str]) -> set[str]:
    found, ahead = set(), list(first)
    while ahead:
        one = ahead.pop()
        if one not in found:
            found.add(one)
            ahead.extend(edges.get(one, ()))
    return found
