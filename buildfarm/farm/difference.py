"""What is different from the last time it went well: commit, recipe, images, and what the index served."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from packaging.version import InvalidVersion, Version
from sqlalchemy import select
from sqlalchemy.orm import Session

from buildfarm.farm.model import Build, Dependency, Job
from buildfarm.farm.rules import State


@dataclass(frozen=True)
class Change:
    """One thing before and now; None where it was or is not there."""

    what: str
    before: str | None
    now: str | None


@dataclass(frozen=True)
class Difference:
    """A job against the last good one of the same source, recipe and target.

    `changes` name `commit`, `recipe` (by the digest of all its values), `build image` and `test image`;
    `dependencies` are projects by the versions that were read, or by the files where the versions are the
    same. What a failed attempt did not come to read stands there without `now`.
    """

    job_id: str
    build_id: str
    build_number: int
    finished_at: datetime | None
    changes: tuple[Change, ...]
    dependencies: tuple[Change, ...]


def since_good(session: Session, job: Job) -> Difference | None:
    """What is different from the last job before it that succeeded; None when there is none."""
    build = job.build
    row = session.execute(
        select(Job, Build)
        .join(Build, Build.id == Job.build_id)
        .where(
            Build.source_id == build.source_id,
            Build.recipe_name == build.recipe_name,
            Build.id < build.id,
            Build.compares_id.is_(None),
            Job.target == job.target,
            Job.state == State.SUCCEEDED,
        )
        .order_by(Build.id.desc())
        .limit(1)
    ).first()
    if row is None:
        return None
    good, old = row.Job, row.Build
    pairs = (
        ("commit", old.commit, build.commit),
        ("recipe", old.recipe_sha256, build.recipe_sha256),
        ("build image", good.spec.get("build_image"), job.spec.get("build_image")),
        ("test image", good.spec.get("test_image"), job.spec.get("test_image")),
    )
    return Difference(
        job_id=good.id,
        build_id=old.id,
        build_number=old.number,
        finished_at=good.finished_at,
        changes=tuple(Change(*pair) for pair in pairs if pair[1] != pair[2]),
        dependencies=compare(_read(session, good), _read(session, job)),
    )


def compare(before: Iterable[Dependency], now: Iterable[Dependency]) -> tuple[Change, ...]:
    """The projects of which other files were read, by name."""
    old, new = _by_project(before), _by_project(now)
    changes = []
    for project in sorted(old.keys() | new.keys()):
        was, is_ = old[project], new[project]
        if {(one.filename, one.sha256) for one in was} == {(one.filename, one.sha256) for one in is_}:
            continue
        told = _versions(was), _versions(is_)
        if told[0] == told[1]:
            told = _files(was), _files(is_)
        changes.append(Change(project, *told))
    return tuple(changes)


def _read(session: Session, job: Job) -> list[Dependency]:
    ran = job.ran
    query = select(Dependency).where(Dependency.job_id == ran.id, Dependency.attempt == ran.attempt)
    return list(session.scalars(query))


def _by_project(files: Iterable[Dependency]) -> defaultdict[str, list[Dependency]]:
    projects: defaultdict[str, list[Dependency]] = defaultdict(list)
    for file in files:
        of_python = file.ecosystem == "pypi"
        projects[file.project if of_python else f"{file.project} ({file.ecosystem})"].append(file)
    return projects


def _versions(files: Iterable[Dependency]) -> str | None:
    return ", ".join(sorted({one.version for one in files}, key=_order)) or None


def _files(files: Iterable[Dependency]) -> str | None:
    return ", ".join(sorted(f"{one.filename} sha256:{one.sha256[:12]}" for one in files)) or None


def _order(version: str) -> tuple[Version, str]:
    try:
        return Version(version), version
    except InvalidVersion:
        return Version("0"), version
