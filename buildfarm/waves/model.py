"""Tables of rebuild waves."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column, relationship

from buildfarm.db.types import Base


class Wave(Base):
    """Releases of one channel that are built again for one reason, and promoted as one.

    `trigger` is `image`, `python` or `project`, `subject` which one. The id, `wave-7`, is also the name of
    the candidate channel that has the results until they enter `channel`; `promotions` are the ids of what
    let them in.
    """

    __tablename__ = "wave"

    id: Mapped[str] = mapped_column(ForeignKey("channel.name"), primary_key=True)
    number: Mapped[int] = mapped_column(unique=True)
    trigger: Mapped[str]
    subject: Mapped[str]
    channel: Mapped[str] = mapped_column(ForeignKey("channel.name"))
    state: Mapped[str] = mapped_column(index=True)
    actor: Mapped[str]
    created_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    promotions: Mapped[list[Any]]
    members: Mapped[list[Member]] = relationship(
        back_populates="wave", order_by="(Member.level, Member.project)"
    )


class Member(Base):
    """One release of a wave: `build_id` published it, `rebuild_id` builds it again.

    `waits_for` are projects of the wave; `is_first`: the trigger concerns it itself. `seconds` is what its
    jobs took together the last time.
    """

    __tablename__ = "wave_member"

    wave_id: Mapped[str] = mapped_column(ForeignKey("wave.id"), primary_key=True)
    project: Mapped[str] = mapped_column(primary_key=True)
    version: Mapped[str]
    level: Mapped[int]
    is_first: Mapped[bool]
    why: Mapped[str]
    waits_for: Mapped[list[Any]]
    seconds: Mapped[int]
    state: Mapped[str]
    build_id: Mapped[str] = mapped_column(ForeignKey("build.id"))
    rebuild_id: Mapped[str | None] = mapped_column(ForeignKey("build.id"), index=True)
    reason: Mapped[str | None]
    wave: Mapped[Wave] = relationship(back_populates="members")
