"""The table of what administrators asked about hooks."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, Text
from sqlalchemy.orm import Mapped, mapped_column

from buildfarm.db.types import Base


class HookOrder(Base):
    """Something to be done with a source's hook; `health` is how the hook was then (`rules.Health`).

    `state` is `waiting`, `done` or `failed` (`error` says why).
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
    created_at: Mapped[datetime]
    done_at: Mapped[datetime | None]
