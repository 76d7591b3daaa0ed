"""What a wave would build, in which order, why each, how long, and what is left out and why.

An image or an interpreter concerns what has wheels for a platform; a library what was built with it or runs
with it, and then whatever needs that. Nothing is decided by the minutes: they are what the jobs took last.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from packaging.utils import InvalidName, canonicalize_name, parse_wheel_filename
from packaging.version import InvalidVersion, Version
from sqlalchemy import select
from sqlalchemy.orm import Session

from buildfarm.config import Settings
from buildfarm.errors import InvalidInput, NotFound
from buildfarm.farm import crew, registry
from buildfarm.farm.model import Builder, Image
from buildfarm.index import channels
from buildfarm.storage.blobs import Blobs
from buildfarm.waves import graph, own, rules
from buildfarm.waves.own import Own

#: Whether the trigger concerns a project itself, and the sentence that says why or why not.
Judge = Callable[[Own], tuple[bool, str]]
_PURE = "has no wheels for a platform"
_INTERPRETER = re.compile(r"cp3[0-9]{1,2}t?")


class Kind(StrEnum):
    """What is new: an image's suite, an interpreter, or a version of a library."""

    IMAGE = "image"
    PYTHON = "python"
    PROJECT = "project"


@dataclass(frozen=True)
class Trigger:
    """Why a wave is opened; `subject` is `trixie`, `cp314`, `acme-core` or `acme-core==2.0`."""

    kind: Kind
    subject: str


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
        NotFound: `channel.unknown`; `image.unknown`, no image in use is of that suite.
        Conflict: `channel.not_durable`.
        InvalidInput: `wave.python`, `wave.project`, the subject cannot be read.
    """
    channels.demand_durable(channels.get(session, channel))
    projects = own.current(session, blobs, channel)
    why, left_out = _first(session, projects, trigger)
    needs = {name: one.needs for name, one in projects.items()}
    first = set(why)
    if trigger.kind is Kind.PROJECT:
        reached = graph.concerned(needs, first) - {_library(trigger.subject)[0]}
        why |= {name: f"needs {', '.join(sorted(needs[name] & reached))}" for name in reached - first}
    left_out |= {name: sentence for name in why if (sentence := _obstacle(projects[name]))}
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
    if trigger.kind is Kind.PROJECT:
        judge = _by_library(projects, trigger.subject)
    elif trigger.kind is Kind.PYTHON:
        judge = _by_python(trigger.subject)
    else:
        judge = _by_image(_images(session, trigger.subject))
    why: dict[str, str] = {}
    left_out: dict[str, str] = {}
    for name, one in projects.items():
        concerns, sentence = judge(one)
        (why if concerns else left_out)[name] = sentence
    return why, {name: sentence for name, sentence in left_out.items() if sentence}


def _obstacle(one: Own) -> str:
    """Why it cannot be built again, as far as anybody knows before trying."""
    if one.build_id is None:
        return "its files were not built here"
    return (
        "is a development version; the next push makes another" if Version(one.version).is_devrelease else ""
    )


def _by_library(projects: Mapping[str, Own], subject: str) -> Judge:
    name, version = _library(subject)
    if version is None and name in projects:
        version = projects[name].version

    def judge(one: Own) -> tuple[bool, str]:
        read = one.read.get(name)
        if read is None:
            return name in one.requires, f"requires {name}" if name in one.requires else ""
        if version in read:
            return False, f"was built with {name} {version}"
        return True, f"was built with {name} {', '.join(sorted(read))}"

    return judge


def _by_python(interpreter: str) -> Judge:
    if not _INTERPRETER.fullmatch(interpreter):
        raise InvalidInput(
            f"{interpreter[:40]!r} is no interpreter.", code="wave.python", hint="Write it like cp313."
        )

    def judge(one: Own) -> tuple[bool, str]:
        names = [parse_wheel_filename(filename, validate_order=False) for filename in one.native]
        tags = [tag for _project, _version, _number, some in names for tag in some]
        if not tags:
            return False, _PURE
        if any(tag.interpreter == interpreter for tag in tags):
            return False, f"has wheels for {interpreter}"
        if any(tag.abi == "abi3" for tag in tags):
            return False, f"its abi3 wheels serve {interpreter}"
        return True, f"has no wheels for {interpreter}"

    return judge


def _by_image(images: Iterable[Image]) -> Judge:
    ids = {image.image_id for image in images}
    platforms = {image.platform for image in images}
    told = ", ".join(sorted(platforms))

    def judge(one: Own) -> tuple[bool, str]:
        if not one.native:
            return False, _PURE
        here = [job for job in one.jobs if job.target.partition("-")[2] in platforms]
        if not here:
            return False, f"has no wheels for {told}"
        if all(job.build_image in ids for job in here):
            return False, "was built in this image"
        return True, f"was built for {told} in an older image"

    return judge


def _images(session: Session, suite: str) -> list[Image]:
    found = [one for one in registry.images(session) if one.suite == suite and one.role == "builder"]
    if not found:
        raise NotFound(
            f"No image in use is of {suite[:40]}.",
            code="image.unknown",
            hint="`buildfarm image list` shows them all.",
        )
    return found


def _library(subject: str) -> tuple[str, str | None]:
    name, separator, version = subject.partition("==")
    try:
        return canonicalize_name(name.strip(), validate=True), str(Version(version)) if separator else None
    except (InvalidName, InvalidVersion) as err:
        raise InvalidInput(
            f"{subject[:100]!r} is neither NAME nor NAME==VERSION.", code="wave.project"
        ) from err


def _slots(session: Session, settings: Settings) -> int:
    """Of the builders that take work now."""
    able = [
        one
        for one in session.scalars(select(Builder))
        if not any(stops(one) for _, stops in crew.obstacles(settings))
    ]
    return sum(int(one.facts.get("slots", 1)) for one in able)
