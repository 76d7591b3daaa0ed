"""What pages are made of, read from SQL: the releases that channels show, and serials by project."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import groupby
from operator import attrgetter
from typing import Any

from packaging.utils import canonicalize_version
from sqlalchemy import ColumnElement, Row, case, func, select
from sqlalchemy.orm import Session

from buildfarm.index import namespacefacts
from buildfarm.index.model import ChannelEntry, File, Project, Release
from buildfarm.index.namespacefacts import Claim
from buildfarm.index.status import Status
from buildfarm.journal.model import JournalRow

#: Rows that are in memory at once while many projects are read.
_AT_ONCE = 1000
#: A file in a channel, with its release; the columns of `PageFile` from the eighth on.
_Shown = Row[Any]


@dataclass(frozen=True, slots=True)
class PageFile:
    """A file as its project's page lists it; `yanked` is the reason, None when it is not."""

    filename: str
    sha256: str
    size: int
    uploaded_at: datetime
    requires_python: str | None
    metadata_sha256: str | None
    bundle_sha256: str | None
    provenance_sha256: str | None
    reproduced_sha256: str | None
    yanked: str | None


@dataclass(frozen=True, slots=True)
class PageRelease:
    """A release as a channel shows it: its files there, by name, the first since a serial."""

    version: str
    since: int
    summary: str | None
    created_at: datetime
    files: tuple[PageFile, ...]


@dataclass(frozen=True, slots=True)
class Serials:
    """The newest journal row that names a project, and by canonical version the newest of a release."""

    project: int = 0
    releases: dict[str, int] = field(default_factory=dict)

    def of(self, version: str) -> int:
        """That of a release."""
        return self.releases.get(canonicalize_version(version), 0)


@dataclass(frozen=True, slots=True)
class PageProject:
    """A project as every channel shows it, and its releases by channel; `namespaces` if they are told."""

    name: str
    status: str
    reason: str | None
    serials: Serials
    namespaces: Sequence[Claim] | None
    releases: dict[str, list[PageRelease]]

    def shown_in(self, channel: str) -> list[PageRelease]:
        """The releases that the channel's page lists: none of a project in quarantine (PEP 792)."""
        return [] if self.status == Status.QUARANTINED else self.releases.get(channel, [])


def projects(session: Session, names: Collection[str], *, namespaces: bool) -> Iterator[PageProject]:
    """Everything that is shown of these local projects; a few of their rows are in memory at once.

    `namespaces`: pages tell those of a project, so that a row about one of them is about the project too.
    """
    columns = (Project.name, Project.status, Project.status_reason, Project.local_since)
    known = {row.name: row for row in session.execute(select(*columns).where(Project.name.in_(names)))}
    serials = _serials(session, known)
    claims: dict[str, Sequence[Claim]] = {}
    if namespaces:
        since = {name: row.local_since for name, row in known.items()}
        for name, covered in namespacefacts.coverage(session, since).items():
            claims[name] = covered.claims
            newest = max(serials[name].project, covered.serial)
            serials[name] = replace(serials[name], project=newest)

    def told(head: Row[str, str, str | None, int], shown: dict[str, list[PageRelease]]) -> PageProject:
        name = head.name
        return PageProject(name, head.status, head.status_reason, serials[name], claims.get(name), shown)

    rows = _files(session, Release.project.in_(known))
    for name, group in groupby(rows, attrgetter("project")):
        yield told(known.pop(name), _by_channel(group))
    for head in known.values():
        yield told(head, {})


def releases(session: Session, name: str, versions: Collection[str]) -> dict[str, list[PageRelease]]:
    """What channels show of some releases (canonical versions) of a project."""
    return _by_channel(_files(session, (Release.project == name) & Release.key.in_(versions)))


def largest(session: Session, *, files_each: int, files: int) -> list[str]:
    """Projects of at least `files_each` files, the largest first, as many as have `files` together."""
    count = func.count(File.filename)
    rows = session.execute(
        select(Release.project, count)
        .join(File, File.release_id == Release.id)
        .group_by(Release.project)
        .having(count >= files_each)
        .order_by(count.desc(), Release.project)
    )
    names = []
    for project, size in rows:
        if size <= files:
            names.append(project)
            files -= size
    return names


def list_serial(session: Session, channel: str) -> int:
    """The serial at which the channel's list of projects last changed.

    Of a project that went and came back this knows the first coming alone.
    """
    spans = (
        select(
            func.min(ChannelEntry.since).label("first"),
            func.max(ChannelEntry.until).label("last"),
            func.count().label("entries"),
            func.count(ChannelEntry.until).label("ended"),
        )
        .join(File, File.filename == ChannelEntry.filename)
        .join(Release, Release.id == File.release_id)
        .where(ChannelEntry.channel == channel)
        .group_by(Release.project)
        .subquery()
    )
    changed = case((spans.c.entries > spans.c.ended, spans.c.first), else_=spans.c.last)
    return session.scalar(select(func.max(changed))) or 0


def _serials(session: Session, names: Collection[str]) -> dict[str, Serials]:
    found = {name: Serials() for name in names}
    rows = session.execute(
        select(JournalRow.project, JournalRow.version, func.max(JournalRow.serial))
        .where(JournalRow.project.in_(names))
        .group_by(JournalRow.project, JournalRow.version)
    )
    for name, version, serial in rows:
        project = name or ""
        releases = found[project].releases
        if version is not None:
            releases[version] = serial
        found[project] = Serials(max(found[project].project, serial), releases)
    return found


def _files(session: Session, where: ColumnElement[bool]) -> Iterator[_Shown]:
    query = (
        select(
            Release.project, ChannelEntry.channel, Release.key, Release.version, Release.summary,
            Release.created_at, ChannelEntry.since, File.filename, File.sha256, File.size, File.uploaded_at,
            File.requires_python, File.metadata_sha256, File.bundle_sha256, File.provenance_sha256,
            File.reproduced_sha256, File.yanked,
        )
        .join(File, File.release_id == Release.id)
        .join(ChannelEntry, ChannelEntry.filename == File.filename)
        .where(where, ChannelEntry.until.is_(None), File.withdrawn_at.is_(None))
        .order_by(Release.project, ChannelEntry.channel, Release.key, File.filename)
    )  # fmt: skip
    return iter(session.execute(query.execution_options(yield_per=_AT_ONCE)))


def _by_channel(rows: Iterator[_Shown]) -> dict[str, list[PageRelease]]:
    shown: dict[str, list[PageRelease]] = defaultdict(list)
    for (channel, _key), group in groupby(rows, attrgetter("channel", "key")):
        files = list(group)
        first = files[0]
        shown[channel].append(
            PageRelease(
                version=first.version,
                since=min(row.since for row in files),
                summary=first.summary,
                created_at=first.created_at,
                files=tuple(map(_file, files)),
            )
        )
    return shown


def _file(row: _Shown) -> PageFile:
    values: tuple[Any, ...] = tuple(row)
    return PageFile(*values[7:])
