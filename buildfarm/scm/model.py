"""The delivery ledger: every call of a known source's hook, whatever became of it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from buildfarm.db.types import Base


class Delivery(Base):
    """One webhook call as received. `key` is the sender's id of it, unique within the source.

    `commit` is what the ref holds after it, `before` what it held.
    """

    __tablename__ = "delivery"
    __table_args__ = (
        UniqueConstraint("source_id", "key"),
        Index("ix_delivery_ref", "source_id", "ref", "id"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    source_id: Mapped[str] = mapped_column(ForeignKey("source.id"), index=True)
    key: Mapped[str | None]
    scm: Mapped[str]
    received_at: Mapped[datetime]
    state: Mapped[str]
    reason: Mapped[str | None]
    kind: Mapped[str | None]
    ref: Mapped[str | None]
    commit: Mapped[str | None]
    before: Mapped[str | None]
    actor: Mapped[str | None]
    title: Mapped[str | None]
    headers: Mapped[dict[str, Any]]
    body: Mapped[bytes]
    body_sha256: Mapped[str]
    steps: Mapped[list[Any]]
