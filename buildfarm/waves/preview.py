"""What a wave would build, in which order, why each, how long, and what is left out and why.

A new version of a library concerns, beside what was built with it or runs with it, whatever needs that.
Nothing is decided by the minutes: they are what the jobs took last.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from buildfarm.config import Settings
from buildfarm.farm import crew
from buildfarm.farm.model import Builder
from buildfarm.index import channels
from buildfarm.storage.blobs import Blobs
from buildfarm.waves import graph, own, rules
from buildfarm.waves.own import Own
from buildfarm.waves.triggers import Kind, Trigger, judge_of, library_of, obstacle


@dataclass(frozen=True)
class Planned:
    """A release that would be built again; `seconds` is what its jobs took together the last time.

    `is_first`: the trigger concerns it itself; `waits_for` are other members.
    """

    project: str
    version: str
    build_id: str
    level: int
    is_first: bool
    why: str
    waits_for: tuple[str, ...]
    jobs: int
    seconds: float


@dataclass(frozen=True)
class LeftOut:
    """A project that is not built, and why."""

    project: str
    why: str


@dataclass(frozen=True)
class Preview:
    """A wave before it is opened.

    `seconds` is the work of all jobs, `expected_seconds` how long it takes on the `slots` of the builders
    that are here (none: as on one). `cycles` are projects that need each other: nobody there waits.
    """

    trigger: str
    subject: str
    channel: str
    members: tuple[Planned, ...]
    left_out: tuple[LeftOut, ...]
    cycles: tuple[tuple[str, ...], ...]
    slots: int
    seconds: float
    expected_seconds: float


def preview(session: Session, blobs: Blobs, settings: Settings, trigger: Trigger, *, channel: str) -> Preview:
    """What a wave for `trigger` would do to the newest releases of `channel`.

    Raises:
        NotFound: `channel.unknown`.
        Conflict: `channel.not_durable`.
        As for `judge_of`.
    """
    channels.demand_durable(channels.get(session, channel))
    projects = own.current(session, blobs, channel)
    why, left_out = _first(session, projects, trigger)
    needs = {name: one.needs for name, one in projects.items()}
    first = set(why)
    if trigger.kind is Kind.PROJECT:
        reached = graph.concerned(needs, first) - {library_of(trigger.subject)[0]}
        why |= {name: f"needs {', '.join(sorted(needs[name] & reached))}" for name in reached - first}
    left_out |= {name: sentence for name in why if (sentence := obstacle(projects[name]))}
    inner = graph.within(needs, why.keys() - left_out.keys())
    waits, levels = graph.waits_for(inner), graph.levels(inner)
    members = [
        Planned(
            project=name,
            version=projects[name].version,
            build_id=projects[name].build_id or "",
            level=number,
            is_first=name in first,
            why=why[name],
            waits_for=tuple(sorted(waits[name])),
            jobs=len(projects[name].jobs),
            seconds=sum(job.seconds for job in projects[name].jobs),
        )
        for number, level in enumerate(levels, 1)
        for name in level
    ]
    slots = _slots(session, settings)
    took = [[job.seconds for name in level for job in projects[name].jobs] for level in levels]
    return Preview(
        trigger=trigger.kind,
        subject=trigger.subject,
        channel=channel,
        members=tuple(members),
        left_out=tuple(LeftOut(name, left_out[name]) for name in sorted(left_out)),
        cycles=tuple(graph.cycles(inner)),
        slots=slots,
        seconds=sum(map(sum, took)),
        expected_seconds=rules.makespan(took, slots),
    )


def _first(
    session: Session, projects: Mapping[str, Own], trigger: Trigger
) -> tuple[dict[str, str], dict[str, str]]:
    """Why the trigger concerns projects itself, and why it does not others."""
    judge = judge_of(session, projects, trigger)
    why: dict[str, str] = {}
    left_out: dict[str, str] = {}
    for name, one in projects.items():
        concerns, sentence = judge(one)
        (why if concerns else left_out)[name] = sentence
    return why, {name: sentence for name, sentence in left_out.items() if sentence}


def _slots(session: Session, settings: Settings) -> int:
    """Of the builders that take work now."""
    able = [
        one
        for one in session.scalars(select(Builder))
        if not any(stops(one) for _, stops in crew.obstacles(settings))
    ]
    return sum(int(one.facts.get("slots", 1)) for one in able)
