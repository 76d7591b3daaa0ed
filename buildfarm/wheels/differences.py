"""Which members of two archives differ, and in what. The archives are read in a child of its own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

from buildfarm.forkserver import ForkServer
from buildfarm.wheels.listing import UNNUMBERED

#: Differences that are told at most.
MOST = 50
_sandbox = ForkServer("buildfarm.wheels.listing", wall_seconds=60.0)


@dataclass(frozen=True)
class Member:
    """One member of an archive, by what can differ of it; texts, as the child wrote them."""

    name: str
    content: str
    time: str
    mode: str
    owner: str
    packing: str


@dataclass(frozen=True)
class Difference:
    """What differs of one member; of the archives as a whole where `member` is empty."""

    member: str
    what: str


def differences(first: Path, second: Path, filename: str) -> list[Difference]:
    """Up to `MOST` differences of two archives of one name that are not the same bytes, at least one."""
    try:
        told = differing(*(_members(path, filename) for path in (first, second)))
        return [one for one, _more in zip(told, range(MOST), strict=False)]
    except (ValueError, KeyError, TypeError, RecursionError):  # no answer, half of one, or nonsense
        return [Difference("", "cannot be read within the limits of time and memory")]


def are_same_but_number(first: Path, second: Path) -> bool:
    """Whether the members of two wheels have the same content and mode, but for a build number.

    That number stands in WHEEL, and RECORD has the digest of WHEEL. When members were written, and how they
    are packed, makes no difference to who installs them. What cannot be read is not the same.
    """
    try:
        one, other = (_members(path, UNNUMBERED) for path in (first, second))
    except (ValueError, KeyError, TypeError, RecursionError):
        return False
    return bool(one) and _installed(one) == _installed(other)


def _installed(members: dict[str, Member]) -> dict[str, tuple[str, str]]:
    return {
        name: (one.content, one.mode)
        for name, one in members.items()
        if not name.endswith(".dist-info/RECORD")
    }


def differing(first: dict[str, Member], second: dict[str, Member]) -> Iterator[Difference]:
    """The differences of two archives, from their members by name in their order."""
    count = 0
    for name, member in first.items():
        other = second.get(name)
        what = "only in the first" if other is None else ", ".join(_aspects(member, other))
        if what:
            count += 1
            yield Difference(name, what)
    for name in second:
        if name not in first:
            count += 1
            yield Difference(name, "only in the second")
    if list(first) != list(second) and set(first) == set(second):
        count += 1
        yield Difference("", "order of the members")
    if not count:
        yield Difference("", "bytes outside of the members")


def _aspects(one: Member, other: Member) -> Iterator[str]:
    for field in fields(Member):
        if getattr(one, field.name) != getattr(other, field.name):
            yield field.name


def _members(path: Path, filename: str) -> dict[str, Member]:
    with path.open("rb") as file:
        listed = json.loads(_sandbox.ask(filename.encode(), file.fileno()))
    return {row[0]: Member(*map(str, row)) for row in listed}
