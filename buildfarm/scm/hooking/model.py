"""The tables of what administrators asked about hooks, how hooks were found, and what was healed."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, Text
from sqlalchemy.orm import Mapped, mapped_column

from buildfarm.db.types import Base, Json


class HookOrder(Base):
    """Something to be done with a source's hook; `health` is how the hook was then (`rules.Health`).

    `state` is `waiting`, `done` or `failed` (`error` says why, `code` is the error's).
    """

    __tablename__ = "hook_order"
    __table_args__ = (Index("ix_hook_order_newest", "source_id", "id"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    source_id: Mapped[str] = mapped_column(ForeignKey("source.id"))
    verb: Mapped[str]
    actor: Mapped[str]
    state: Mapped[str]
    health: Mapped[dict[str, Any] | None]
    error: Mapped[str | None] = mapped_column(Text)
    code: Mapped[str | None]
    created_at: Mapped[datetime]
    done_at: Mapped[datetime | None]


class HookWatch(Base):
    """How a source's hook was when a worker last looked by itself; `problem` is None when all was well.

    `code` is that of the error where the SCM could not be asked.
    """

    __tablename__ = "hook_watch"

    source_id: Mapped[str] = mapped_column(ForeignKey("source.id"), primary_key=True)
    next_at: Mapped[datetime] = mapped_column(index=True)
    looked_at: Mapped[datetime | None]
    problem: Mapped[str | None] = mapped_column(Text)
    code: Mapped[str | None]


class HookHealing(Base):
    """Something that a worker put right by itself: `kind` is `resumed` or `sent_again`.

    `carried` are the deliveries that the SCM was asked to send again, by its ids of what they carry.
    """

    __tablename__ = "hook_healing"
    __table_args__ = (Index("ix_hook_healing_newest", "source_id", "id"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    source_id: Mapped[str] = mapped_column(ForeignKey("source.id"))
    at: Mapped[datetime]
    kind: Mapped[str]
    sentence: Mapped[str] = mapped_column(Text)
    carried: Mapped[list[Any]] = mapped_column(Json)
