"""Channels: which files they hold, from which serial to which."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from buildfarm.errors import NotFound
from buildfarm.index.model import Channel, ChannelEntry, File, Release
from buildfarm.index.spelling import version_key
from buildfarm.journal.record import record

#: The ladder of every farm; files climb it by promotion.
LADDER = ("dev", "staging", "stable")


def create_ladder(session: Session) -> None:
    """Make the durable channels of a new farm; idempotent."""
    for rank, name in enumerate(LADDER):
        if session.get(Channel, name) is None:
            session.add(Channel(name=name, rank=rank, public=False))
            record(session, "channel.create", channel=name, actor="farm")


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
    get(session, name)
    return session.get_one(Channel, name, with_for_update=True, populate_existing=True)


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
