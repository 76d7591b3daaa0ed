"""What people see of projects and releases: versions, files, and how far up the channels they are."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import pairwise
from typing import Any

from packaging.utils import canonicalize_name
from packaging.version import Version
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from buildfarm.db import keyset
from buildfarm.errors import InvalidInput, NotFound
from buildfarm.farm.versions import TAGS
from buildfarm.index import channels, names, namespaces
from buildfarm.index.files import get_release
from buildfarm.index.model import Channel, ChannelEntry, File, Project, Promotion, Release
from buildfarm.index.showfiles import Entries, FileRow, file_rows, live_entries
from buildfarm.journal.model import JournalRow

#: Files of one release that are looked through, on average, for the newest releases of a channel.
_FILES_EACH = 20


@dataclass(frozen=True)
class ChannelRow:
    """A channel; `rank` orders the durable ones into a ladder, `files` counts what is in it now."""

    name: str
    kind: str
    rank: int
    public: bool
    parts: tuple[str, ...]
    policy: dict[str, Any]
    files: int


@dataclass(frozen=True)
class Rung:
    """One channel of a release's ladder: since when files of it are there, None where none are."""

    channel: str
    since: datetime | None
    files: int


@dataclass(frozen=True)
class Arrival:
    """A release as it came into a channel."""

    project: str
    version: str
    since: datetime


@dataclass(frozen=True)
class ProjectRow:
    """A local name; `latest` is its highest version."""

    name: str
    display_name: str
    latest: str | None
    summary: str | None
    releases: int
    updated_at: datetime | None


@dataclass(frozen=True)
class ReleaseRow:
    """A version with its ladder, the lowest channel first; yanked when all of its files are."""

    version: str
    summary: str | None
    created_at: datetime
    files: int
    yanked: bool
    channels: tuple[Rung, ...]


@dataclass(frozen=True)
class ProjectDetail:
    """A project with its releases, the highest version first; `local_since` is a journal serial.

    `status` is PEP 792's; `looks_like` are names that a person may take for this one; `namespaces`
    the reserved prefixes that cover it.
    """

    name: str
    display_name: str
    local_since: int
    status: str
    status_reason: str | None
    looks_like: tuple[str, ...]
    namespaces: tuple[str, ...]
    releases: tuple[ReleaseRow, ...]


@dataclass(frozen=True)
class NextStep:
    """The promotion that may follow."""

    from_channel: str
    to_channel: str


@dataclass(frozen=True)
class ReleaseDetail:
    """A release with its files; `following` is None for a dev build and in the last channel.

    `metadata_sha256` is the blob of its core metadata, of a wheel where there is one.
    """

    project: str
    version: str
    summary: str | None
    created_at: datetime
    yanked: bool
    channels: tuple[Rung, ...]
    following: NextStep | None
    metadata_sha256: str | None
    files: tuple[FileRow, ...]

    @property
    def is_dev_build(self) -> bool:
        """Whether a file was built of something else than a tag, so that the release is not promoted."""
        return any(file.origin and not file.origin.ref.startswith(TAGS) for file in self.files)


@dataclass(frozen=True)
class PromotionRow:
    """A promotion as asked for; `serial` is the journal's once it is applied."""

    id: str
    project: str
    version: str
    from_channel: str
    to_channel: str
    state: str
    actor: str
    created_at: datetime
    applied_at: datetime | None
    serial: int | None
    files: tuple[str, ...]


def list_channels(session: Session) -> list[ChannelRow]:
    """The ladder, the lowest channel first, then mirrors and unions.

    Candidates are shown by their waves, stages by their sources.
    """
    live = select(ChannelEntry.channel, func.count().label("files")).where(ChannelEntry.until.is_(None))
    counts = live.group_by(ChannelEntry.channel).subquery()
    found = session.execute(
        select(Channel, counts.c.files)
        .outerjoin(counts, counts.c.channel == Channel.name)
        .where(Channel.kind.not_in(channels.OF_THE_FARM))
        .order_by(Channel.kind != channels.Kind.DURABLE, Channel.rank)
    )
    return [_channel_row(row.Channel, row.files or 0) for row in found]


def channel_detail(session: Session, name: str) -> ChannelRow:
    """One channel.

    Raises:
        NotFound: `channel.unknown`.
    """
    live = select(func.count()).where(ChannelEntry.channel == name, ChannelEntry.until.is_(None))
    return _channel_row(channels.get(session, name), session.scalar(live) or 0)


def newest_releases(session: Session, channel: str, limit: int) -> list[Arrival]:
    """The releases that came into a channel last, the newest first; of those with the newest files."""
    entries = (
        select(Release.project, Release.version, JournalRow.at)
        .select_from(ChannelEntry)
        .join(File, File.filename == ChannelEntry.filename)
        .join(Release, Release.id == File.release_id)
        .join(JournalRow, JournalRow.serial == ChannelEntry.since)
        .where(ChannelEntry.channel == channel, ChannelEntry.until.is_(None))
        .order_by(ChannelEntry.since.desc())
        .limit(limit * _FILES_EACH)
    )
    newest: dict[tuple[str, str], Arrival] = {}
    for project, version, at in session.execute(entries):
        newest.setdefault((project, version), Arrival(project, version, at))
    return list(newest.values())[:limit]


def list_projects(
    session: Session, *, q: str | None = None, after: str | None = None, limit: int = 50
) -> tuple[list[ProjectRow], str | None]:
    """Projects by name, those that hold `q`, and the name to go on after (None on the last page)."""
    query = select(Project).order_by(Project.name).limit(limit + 1)
    if q:
        query = query.where(Project.name.contains(canonicalize_name(q), autoescape=True))
    if after:
        query = query.where(Project.name > after)
    projects, following = keyset.cut(list(session.scalars(query)), limit, lambda project: project.name)
    releases: dict[str, list[Release]] = defaultdict(list)
    for release in session.scalars(
        select(Release).where(Release.project.in_([each.name for each in projects]))
    ):
        releases[release.project].append(release)
    return [_project_row(project, releases[project.name]) for project in projects], following


def project_detail(session: Session, name: str) -> ProjectDetail:
    """One project; its name in any spelling.

    Raises:
        NotFound: `project.unknown`.
    """
    project = session.get(Project, canonicalize_name(name))
    if project is None:
        raise NotFound(f"There is no project {name} here.", code="project.unknown")
    releases = list(session.scalars(select(Release).where(Release.project == project.name)))
    entries = live_entries(session, (file.filename for release in releases for file in release.files))
    ladder = _ladder(session)
    releases.sort(key=lambda release: Version(release.version), reverse=True)
    return ProjectDetail(
        name=project.name,
        display_name=project.display_name,
        local_since=project.local_since,
        status=project.status,
        status_reason=project.status_reason,
        looks_like=tuple(names.similar(session, project.name)),
        namespaces=tuple(one.prefix for one in namespaces.covering(session, project.name)),
        releases=tuple(
            ReleaseRow(
                version=release.version,
                summary=release.summary,
                created_at=release.created_at,
                files=len(release.files),
                yanked=_is_yanked(release),
                channels=_rungs(ladder, release, entries),
            )
            for release in releases
        ),
    )


def release_detail(session: Session, project: str, version: str) -> ReleaseDetail:
    """One release with its files.

    Raises:
        NotFound: `release.unknown`.
    """
    try:
        release = get_release(session, project, version)
    except InvalidInput as err:  # an address that cannot be one leads nowhere
        raise NotFound(f"There is no release {project} {version} here.", code="release.unknown") from err
    entries = live_entries(session, (file.filename for file in release.files))
    rungs = _rungs(_ladder(session), release, entries)
    detail = ReleaseDetail(
        project=release.project,
        version=release.version,
        summary=release.summary,
        created_at=release.created_at,
        yanked=_is_yanked(release),
        channels=rungs,
        following=_following(rungs),
        metadata_sha256=_metadata(release),
        files=tuple(file_rows(session, release.files, entries)),
    )
    return replace(detail, following=None) if detail.is_dev_build else detail


def _metadata(release: Release) -> str | None:
    # As the JSON API has it: wheels say all that there is to say.
    ordered = sorted(release.files, key=lambda file: not file.filename.endswith(".whl"))
    return next((file.metadata_sha256 for file in ordered if file.metadata_sha256), None)


def list_promotions(
    session: Session, *, project: str | None = None, before: str | None = None, limit: int = 50
) -> tuple[list[PromotionRow], str | None]:
    """Promotions, the newest first, and the id to ask on with as `before` (None on the last page)."""
    query = select(Promotion).order_by(Promotion.id.desc()).limit(limit + 1)
    if project:
        query = query.where(Promotion.project == canonicalize_name(project))
    if before:
        query = query.where(Promotion.id < before)
    return keyset.cut([promotion_row(one) for one in session.scalars(query)], limit, lambda row: row.id)


def promotion_row(promotion: Promotion) -> PromotionRow:
    """The read model of a row."""
    return PromotionRow(
        id=promotion.id,
        project=promotion.project,
        version=promotion.version,
        from_channel=promotion.from_channel,
        to_channel=promotion.to_channel,
        state=promotion.state,
        actor=promotion.actor,
        created_at=promotion.created_at,
        applied_at=promotion.applied_at,
        serial=promotion.serial,
        files=tuple(promotion.filenames),
    )


def _channel_row(channel: Channel, files: int) -> ChannelRow:
    return ChannelRow(
        name=channel.name,
        kind=channel.kind,
        rank=channel.rank,
        public=channel.public,
        parts=tuple(channel.parts),
        policy=channel.policy,
        files=files,
    )


def _ladder(session: Session) -> list[str]:
    durable = select(Channel.name).where(Channel.kind == channels.Kind.DURABLE)
    return list(session.scalars(durable.order_by(Channel.rank)))


def _rungs(ladder: Sequence[str], release: Release, entries: Entries) -> tuple[Rung, ...]:
    rungs = []
    for channel in ladder:
        times = [
            entries[file.filename][channel]
            for file in release.files
            if channel in entries.get(file.filename, {})
        ]
        rungs.append(Rung(channel, min(times, default=None), len(times)))
    return tuple(rungs)


def _following(rungs: Sequence[Rung]) -> NextStep | None:
    """From the highest channel that holds something to the one above it."""
    steps = [NextStep(low.channel, high.channel) for low, high in pairwise(rungs) if low.files > high.files]
    return steps[-1] if steps else None


def _is_yanked(release: Release) -> bool:
    return bool(release.files) and all(file.yanked is not None for file in release.files)


def _project_row(project: Project, releases: list[Release]) -> ProjectRow:
    newest = max(releases, key=lambda release: Version(release.version), default=None)
    return ProjectRow(
        name=project.name,
        display_name=project.display_name,
        latest=newest.version if newest else None,
        summary=newest.summary if newest else None,
        releases=len(releases),
        updated_at=max((release.created_at for release in releases), default=None),
    )
