"""Who needs whom, and in which order that is built. Pure: names in, names out.

A graph maps each project to the projects that it needs. Projects that need each other in a circle cannot be
put in order: they stand on one level, and none of them waits for another.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Container, Iterable, Mapping, Set
from graphlib import TopologicalSorter

Graph = Mapping[str, Set[str]]


def concerned(graph: Graph, first: Iterable[str]) -> set[str]:
    """`first`, and everything that needs one of them, directly or through others."""
    return _reached(_turned(graph), first, set())


def within(graph: Graph, members: Collection[str]) -> dict[str, frozenset[str]]:
    """The graph of these projects alone; nobody needs itself."""
    inside = frozenset(members)
    return {one: frozenset(inside & graph.get(one, frozenset()) - {one}) for one in inside}


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
    """For each project all that reach it and are reached by it, itself among them.

    Source: M. Sharir, 1981 (Kosaraju's algorithm); one step for each project and each need.
    """
    needed_by = _turned(graph)
    found: dict[str, tuple[str, ...]] = {}
    for project in reversed(_left(graph)):
        if project not in found:
            group = tuple(sorted(_reached(needed_by, [project], found)))
            found.update(dict.fromkeys(group, group))
    return found


def _turned(graph: Graph) -> Graph:
    """Each project with those that need it."""
    needed_by: defaultdict[str, set[str]] = defaultdict(set)
    for project, needs in graph.items():
        for one in needs:
            needed_by[one].add(project)
    return needed_by


def _left(graph: Graph) -> list[str]:
    """The projects as a search in depth leaves them for the last time."""
    left: list[str] = []
    met: set[str] = set()
    for first in graph:
        path = [] if first in met else [(first, iter(graph[first]))]
        met.add(first)
        while path:
            project, needs = path[-1]
            further = next((one for one in needs if one not in met), None)
            if further is None:
                left.append(project)
                path.pop()
            else:
                met.add(further)
                path.append((further, iter(graph[further])))
    return left


def _reached(edges: Graph, first: Iterable[str], besides: Container[str]) -> set[str]:
    found: set[str] = set()
    ahead = list(first)
    while ahead:
        one = ahead.pop()
        if one not in found and one not in besides:
            found.add(one)
            ahead.extend(edges.get(one, ()))
    return found
