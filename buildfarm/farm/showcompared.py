"""What people see of files that were built twice."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from buildfarm.farm.model import Build, Comparison


@dataclass(frozen=True)
class DifferenceRow:
    """What differs of one member of two archives; without a member, of the archives as a whole."""

    member: str
    what: str


@dataclass(frozen=True)
class ComparisonRow:
    """One file built twice; `build_id` compares, `rebuilt_*` are None where it made no such file."""

    build_id: str
    filename: str
    sha256: str
    builder: str
    rebuilt_sha256: str | None
    rebuilt_builder: str | None
    is_equal: bool
    differences: list[DifferenceRow]
    compared_at: datetime


def comparisons_of_build(session: Session, build_id: str) -> list[ComparisonRow]:
    """What a build that compares found, or what was found of a build; by file, the newest last."""
    found = select(Comparison).join(Build, Build.id == Comparison.build_id)
    about = (Build.id == build_id) | (Build.compares_id == build_id)
    order = (Comparison.filename, Comparison.compared_at)
    return [_row(one) for one in session.scalars(found.where(about).order_by(*order))]


def comparisons_of_files(
    session: Session, digests: Iterable[str]
) -> dict[tuple[str, str], list[ComparisonRow]]:
    """What was found of files, by name and SHA-256, the newest last."""
    found: dict[tuple[str, str], list[ComparisonRow]] = defaultdict(list)
    rows = select(Comparison).where(Comparison.sha256.in_(list(digests))).order_by(Comparison.compared_at)
    for one in session.scalars(rows):
        found[one.filename, one.sha256].append(_row(one))
    return found


def _row(one: Comparison) -> ComparisonRow:
    return ComparisonRow(
        build_id=one.build_id,
        filename=one.filename,
        sha256=one.sha256,
        builder=one.builder,
        rebuilt_sha256=one.rebuilt_sha256,
        rebuilt_builder=one.rebuilt_builder,
        is_equal=one.is_equal,
        differences=[DifferenceRow(**each) for each in one.differences],
        compared_at=one.compared_at,
    )
