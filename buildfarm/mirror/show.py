"""What people read about the mirror: projects, files, upstreams, what was not let through."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from buildfarm.errors import NotFound
from buildfarm.mirror.model import GuardEvent, UpstreamFile, UpstreamHealth, UpstreamPage
from buildfarm.wheels.facts import Check


@dataclass(frozen=True)
class MirroredProject:
    """A project that upstream was asked for: sizes in bytes, of what is kept here."""

    name: str
    upstream: str
    checked_at: datetime
    changed_at: datetime
    files: int
    bytes: int
    last_used_at: datetime | None


@dataclass(frozen=True)
class HeldFile:
    """A file that came from upstream once."""

    filename: str
    sha256: str
    size: int
    is_here: bool
    last_used_at: datetime
    refused: str | None
    findings: list[dict[str, str]]
    check: Check | None


@dataclass(frozen=True)
class Event:
    """What the guard did not let through, counted."""

    channel: str
    project: str
    rule: str
    sentence: str
    count: int
    first_at: datetime
    last_at: datetime


@dataclass(frozen=True)
class Health:
    """How an upstream, or a host of its files, answers."""

    upstream: str
    pages: int
    files: int
    failures: int
    answered_at: datetime | None
    failed_at: datetime | None
    failure: str | None

    @property
    def is_well(self) -> bool:
        """Whether its last answer was one."""
        return self.failed_at is None or (self.answered_at is not None and self.answered_at > self.failed_at)


def projects(
    session: Session, after: str = "", limit: int = 100, only: str | None = None
) -> list[MirroredProject]:
    """Projects by name, from behind `after`, or one alone."""
    here = UpstreamFile.stored_at.is_not(None)
    rows = session.execute(
        select(
            UpstreamPage.project,
            UpstreamPage.upstream,
            UpstreamPage.checked_at,
            UpstreamPage.changed_at,
            func.count(UpstreamFile.filename),
            func.coalesce(func.sum(UpstreamFile.size), 0),
            func.max(UpstreamFile.last_used_at),
        )
        .outerjoin(UpstreamFile, (UpstreamFile.project == UpstreamPage.project) & here)
        .where(UpstreamPage.project == only if only is not None else UpstreamPage.project > after)
        .group_by(
            UpstreamPage.project, UpstreamPage.upstream, UpstreamPage.checked_at, UpstreamPage.changed_at
        )
        .order_by(UpstreamPage.project)
        .limit(limit)
    )
    return [MirroredProject(*row) for row in rows]


def project(session: Session, name: str) -> MirroredProject:
    """One project.

    Raises:
        NotFound: `mirror.unknown`, upstream was never asked for it or had none.
    """
    found = projects(session, only=name)
    if not found:
        raise NotFound(f"Upstream was never asked for {name}, or had no such project.", code="mirror.unknown")
    return found[0]


def files(session: Session, name: str) -> list[HeldFile]:
    """The files of a project that came from upstream once, by name."""
    rows = select(UpstreamFile).where(UpstreamFile.project == name).order_by(UpstreamFile.filename)
    return [
        HeldFile(
            row.filename, row.sha256, row.size, row.stored_at is not None, row.last_used_at, row.refused,
            row.findings, row.check,
        )
        for row in session.scalars(rows)
    ]  # fmt: skip


def events(session: Session, project: str = "", limit: int = 100) -> list[Event]:
    """What was not let through, the newest first."""
    rows = select(GuardEvent).order_by(GuardEvent.last_at.desc()).limit(limit)
    if project:
        rows = rows.where(GuardEvent.project == project)
    return [
        Event(row.channel, row.project, row.rule, row.sentence, row.count, row.first_at, row.last_at)
        for row in session.scalars(rows)
    ]


def health(session: Session) -> list[Health]:
    """Every upstream and host of files that was ever asked."""
    return [
        Health(row.upstream, row.pages, row.files, row.failures, row.answered_at, row.failed_at, row.failure)
        for row in session.scalars(select(UpstreamHealth).order_by(UpstreamHealth.upstream))
    ]
