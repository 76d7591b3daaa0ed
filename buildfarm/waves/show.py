"""What pages and API read of waves."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session, selectinload

from buildfarm.db import keyset
from buildfarm.waves import run
from buildfarm.waves.model import Member, Wave


@dataclass(frozen=True)
class MemberRow:
    """A release of a wave; `seconds` is what its jobs took together the last time.

    `rebuild_id` is the build that makes it again, `reason` why that did not come about.
    """

    project: str
    version: str
    level: int
    state: str
    why: str
    waits_for: tuple[str, ...]
    seconds: int
    build_id: str
    rebuild_id: str | None
    reason: str | None


@dataclass(frozen=True)
class WaveRow:
    """A wave; `id` is also the name of its candidate channel, `promotions` let its files into `channel`."""

    id: str
    trigger: str
    subject: str
    channel: str
    state: str
    actor: str
    created_at: datetime
    ended_at: datetime | None
    promotions: tuple[str, ...]
    members: tuple[MemberRow, ...]


def list_waves(
    session: Session, *, before: str | None = None, limit: int = 50
) -> tuple[list[WaveRow], str | None]:
    """Waves, the newest first, and the id to go on after (None on the last page)."""
    query = select(Wave).options(selectinload(Wave.members)).order_by(Wave.number.desc()).limit(limit + 1)
    if before:
        query = query.where(Wave.number < select(Wave.number).where(Wave.id == before).scalar_subquery())
    found, following = keyset.cut(list(session.scalars(query)), limit, lambda wave: wave.id)
    return [wave_row(wave) for wave in found], following


def wave_detail(session: Session, wave_id: str) -> WaveRow:
    """One wave.

    Raises:
        NotFound: `wave.unknown`.
    """
    return wave_row(run.get(session, wave_id))


def wave_row(wave: Wave) -> WaveRow:
    """A wave with its members by level."""
    return WaveRow(
        id=wave.id,
        trigger=wave.trigger,
        subject=wave.subject,
        channel=wave.channel,
        state=wave.state,
        actor=wave.actor,
        created_at=wave.created_at,
        ended_at=wave.ended_at,
        promotions=tuple(wave.promotions),
        members=tuple(map(_member_row, wave.members)),
    )


def _member_row(member: Member) -> MemberRow:
    return MemberRow(
        project=member.project,
        version=member.version,
        level=member.level,
        state=member.state,
        why=member.why,
        waits_for=tuple(member.waits_for),
        seconds=member.seconds,
        build_id=member.build_id,
        rebuild_id=member.rebuild_id,
        reason=member.reason,
    )
