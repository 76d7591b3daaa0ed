"""Channels: which files they hold, from which serial to which."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from buildfarm.errors import Conflict, InvalidInput, NotFound
from buildfarm.index.model import Channel, ChannelEntry, File, Release
from buildfarm.index.spelling import version_key
from buildfarm.journal.record import record
from buildfarm.sources.names import STAGE_PREFIX

#: The ladder of every farm; files climb it by promotion.
LADDER = ("dev", "staging", "stable")
#: First path parts of URLs that are no channel's, now or later.
RESERVED = frozenset(
    {
        *(
            "account",
            "admin",
            "api",
            "assets",
            "attention",
            "builders",
            "builds",
            "buildtypes",
            "channels",
            "connections",
        ),
        *("deliveries", "docs", "files", "healthz", "help", "home", "hooks", "images", "index", "jobapi"),
        *("jobs", "journal", "keys", "legacy", "login", "logout", "machinery", "metrics", "mirrors"),
        *(
            "namespace",
            "namespaces",
            "new",
            "offered",
            "policies",
            "predicates",
            "projects",
            "promotions",
            "pypi",
            "queue",
        ),
        *(
            "readyz",
            "releases",
            "replica",
            "rss",
            "search",
            "settings",
            "signer",
            "simple",
            "sources",
            "stage",
        ),
        *("static", "stats", "status", "theme", "tokens", "trust", "tuf", "upload", "users", "waves"),
    }
)
_NAME = re.compile(rf"(?!wave-[0-9]|{STAGE_PREFIX})[a-z][a-z0-9-]{{0,62}}", re.ASCII)
_KINDS = "One of: durable, mirror, union."


class Kind(StrEnum):
    """What a channel shows: files of its own, an upstream's by policy, or its parts in order.

    A candidate has files of its own too, those of one rebuild wave: off the ladder, filled by builds alone;
    its one part is the channel that they are for; without one it is closed. A stage has those of one pull
    request, and shows its parts beside them; see `buildfarm.index.stages`.
    """

    DURABLE = "durable"
    MIRROR = "mirror"
    UNION = "union"
    CANDIDATE = "candidate"
    STAGE = "stage"


#: The kinds that the farm makes by itself, for as long as they are needed.
OF_THE_FARM = frozenset({Kind.CANDIDATE, Kind.STAGE})

#: The kinds of channels that have files of their own, so that their pages are rendered ahead.
OWN_FILES = (Kind.DURABLE, Kind.CANDIDATE)


def create_ladder(session: Session) -> None:
    """Make the durable channels of a new farm; idempotent."""
    for rank, name in enumerate(LADDER):
        if session.get(Channel, name) is None:
            session.add(Channel(name=name, rank=rank, public=False))
            record(session, "channel.create", channel=name, actor="farm")


def create_mirror(session: Session) -> None:
    """Make the guarded mirror of a new farm, and the channel `all` that puts the farm's own names first."""
    for name, kind, parts in (("mirror", Kind.MIRROR, ()), ("all", Kind.UNION, ("stable", "mirror"))):
        if session.get(Channel, name) is None:
            create(session, name, kind=kind, parts=parts, public=False, actor="farm")
            session.flush()


def create(
    session: Session,
    name: str,
    *,
    kind: str,
    parts: Sequence[str],
    public: bool,
    actor: str,
) -> Channel:
    """A new channel; a durable one is the highest rung of the ladder, the others stand beside it.

    Raises:
        InvalidInput: `channel.name`, `channel.kind`, `channel.parts`.
        Conflict: `channel.exists`.
    """
    if not _NAME.fullmatch(name) or name in RESERVED:
        raise InvalidInput(
            f"{name[:60]!r} cannot be a channel's name.",
            code="channel.name",
            hint="Small letters, digits and hyphens, a letter first; and no first part of other URLs here.",
        )
    if session.get(Channel, name):
        raise Conflict(f"There is a channel {name} already.", code="channel.exists")
    if kind not in set(Kind) - OF_THE_FARM:
        raise InvalidInput(f"{kind[:40]!r} is no kind of channel.", code="channel.kind", hint=_KINDS)
    channel = Channel(
        name=name,
        kind=kind,
        rank=1 + (session.scalar(select(func.max(Channel.rank))) or 0),
        public=public,
        parts=_checked_parts(session, name, kind, parts),
    )
    session.add(channel)
    record(session, "channel.create", channel=name, actor=actor, **_facts(channel))
    return channel


def create_candidate(session: Session, name: str, *, of: str, actor: str) -> Channel:
    """A new channel beside the ladder, for files that are to enter the channel `of` together."""
    channel = Channel(name=name, kind=Kind.CANDIDATE, rank=-1, public=False, parts=[of])
    session.add(channel)
    record(session, "channel.create", channel=name, actor=actor, **_facts(channel))
    return channel


def change(
    session: Session,
    name: str,
    *,
    public: bool | None = None,
    parts: Sequence[str] | None = None,
    actor: str,
) -> Channel:
    """Change what is given of a channel.

    Raises:
        NotFound: `channel.unknown`.
        InvalidInput: `channel.parts`.
        Conflict: `channel.of_farm`, nobody changes a candidate or a stage.
    """
    channel = hold(session, name)
    if channel.kind in OF_THE_FARM:
        raise Conflict(
            f"{name} is a {channel.kind}, which the farm makes and ends by itself.", code="channel.of_farm"
        )
    if public is not None:
        channel.public = public
    if parts is not None:
        channel.parts = _checked_parts(session, name, channel.kind, parts)
    record(session, "channel.set", channel=name, actor=actor, **_facts(channel))
    return channel


def get(session: Session, name: str) -> Channel:
    """One channel.

    Raises:
        NotFound: `channel.unknown`.
    """
    channel = session.get(Channel, name)
    if channel is None:
        raise NotFound(f"There is no channel {name}.", code="channel.unknown")
    return channel


def hold(session: Session, name: str) -> Channel:
    """One channel, whose files no other transaction changes until this one ends.

    Raises:
        NotFound: `channel.unknown`.
    """
    held: dict[str, Channel] = session.info.setdefault("held_channels", {})
    if name not in held:
        found = session.get(Channel, name, with_for_update=True, populate_existing=True)
        held[name] = found or get(session, name)
    return held[name]


def hold_durable(session: Session, name: str) -> Channel:
    """One channel that has files of its own, held as by `hold`.

    Raises:
        NotFound: `channel.unknown`.
        Conflict: `channel.not_durable`, it shows what others have.
    """
    channel = hold(session, name)
    demand_durable(channel)
    return channel


def hold_of_builds(session: Session, name: str) -> Channel:
    """One channel that builds publish into, durable or a candidate, held as by `hold`.

    Raises:
        NotFound: `channel.unknown`.
        Conflict: `channel.not_durable`; `channel.closed`, a candidate that nothing waits for any more.
    """
    channel = hold(session, name)
    if channel.kind != Kind.CANDIDATE:
        demand_durable(channel)
    elif not channel.parts:
        raise Conflict(f"The candidate {name} is closed.", code="channel.closed")
    return channel


def demand_durable(channel: Channel) -> None:
    """Refuse a channel that has no files of its own.

    Raises:
        Conflict: `channel.not_durable`.
    """
    if channel.kind != Kind.DURABLE:
        raise Conflict(
            f"The channel {channel.name} is a {channel.kind}: it takes no files of its own.",
            code="channel.not_durable",
            hint="`buildfarm channel list` shows which are durable.",
        )


def files_of(session: Session, channel: str, project: str, version: str) -> list[File]:
    """The files of a release that the channel holds now."""
    return list(
        session.scalars(
            select(File)
            .join(Release, Release.id == File.release_id)
            .join(ChannelEntry, ChannelEntry.filename == File.filename)
            .where(
                Release.project == project,
                Release.key == version_key(version),
                ChannelEntry.channel == channel,
                ChannelEntry.until.is_(None),
            )
            .order_by(File.filename)
        )
    )


def releases_of(session: Session, channel: str) -> dict[Release, list[File]]:
    """The files that the channel holds now by their releases, in the order of the projects' names."""
    rows = session.execute(
        select(Release, File)
        .join(File, File.release_id == Release.id)
        .join(ChannelEntry, ChannelEntry.filename == File.filename)
        .where(ChannelEntry.channel == channel, ChannelEntry.until.is_(None))
        .order_by(Release.project, Release.key, File.filename)
    )
    found: dict[Release, list[File]] = {}
    for release, file in rows:
        found.setdefault(release, []).append(file)
    return found


def entering(session: Session, channel: str, filenames: Sequence[str]) -> Callable[[int], None]:
    """For a journal row's `on_serial`: the files are in the channel from that serial on."""
    hold(session, channel)
    inside = set(
        session.scalars(
            select(ChannelEntry.filename).where(
                ChannelEntry.channel == channel,
                ChannelEntry.filename.in_(filenames),
                ChannelEntry.until.is_(None),
            )
        )
    )

    def enter(serial: int) -> None:
        session.add_all(
            ChannelEntry(channel=channel, filename=name, since=serial)
            for name in filenames
            if name not in inside
        )

    return enter


def leaving(session: Session, channel: str, filenames: Sequence[str]) -> Callable[[int], None]:
    """For a journal row's `on_serial`: the files are in the channel no more from that serial on."""

    def leave(serial: int) -> None:
        session.execute(
            update(ChannelEntry)
            .where(
                ChannelEntry.channel == channel,
                ChannelEntry.filename.in_(filenames),
                ChannelEntry.until.is_(None),
            )
            .values(until=serial)
        )

    return leave


def close_candidate(session: Session, channel: str, *, actor: str) -> None:
    """Take every file out of a candidate, which takes none any more; each release is a row of the journal."""
    hold(session, channel).parts = []
    for release, files in releases_of(session, channel).items():
        names = [file.filename for file in files]
        record(
            session,
            "leave",
            project=release.project,
            version=release.version,
            channel=channel,
            files=names,
            actor=actor,
            on_serial=leaving(session, channel, names),
        )


def _checked_parts(session: Session, name: str, kind: str, parts: Sequence[str]) -> list[Any]:
    if (kind == Kind.UNION) != bool(parts):
        raise InvalidInput("A union has parts, and no other channel has.", code="channel.parts")
    for part in parts:
        found = session.get(Channel, part)
        if found is None or found.kind not in {Kind.DURABLE, Kind.MIRROR}:
            raise InvalidInput(
                f"{part[:60]!r} cannot be a part: it is no durable channel and no mirror.",
                code="channel.parts",
            )
    if len(set(parts)) != len(parts):
        raise InvalidInput("A union names each of its parts once.", code="channel.parts")
    return list(parts)


def _facts(channel: Channel) -> dict[str, Any]:
    return {
        "channel_kind": channel.kind,
        "public": channel.public,
        "parts": channel.parts,
    }
