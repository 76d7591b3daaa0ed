"""The delivery ledger: every call of a known source's hook, whatever became of it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from buildfarm.db.types import Base


class Delivery(Base):
    """One webhook call as received. `key` is the sender's id of it, unique within the source.

    `kind`, `ref`, `commit` and `title` are those of its first event, by which lists are read; most have one.
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
    actor: Mapped[str | None]
    title: Mapped[str | None]
    headers: Mapped[dict[str, Any]]
    body: Mapped[bytes]
    body_sha256: Mapped[str]
    steps: Mapped[list[Any]]
    events: Mapped[list[DeliveryEvent]] = relationship(order_by="DeliveryEvent.position")


class DeliveryEvent(Base):
    """One thing that a delivery announces: a ref as a rule, and there may be several in one push.

    `commit` is what the ref holds after it, `before` what it held; `reason` why it started nothing, None
    where it started a build.
    """

    __tablename__ = "delivery_event"
    __table_args__ = (
        Index("ix_delivery_event_ref", "source_id", "ref", "delivery_id"),
        Index("ix_delivery_event_commit", "source_id", "commit"),
    )

    delivery_id: Mapped[str] = mapped_column(ForeignKey("delivery.id"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    source_id: Mapped[str] = mapped_column(ForeignKey("source.id"))
    kind: Mapped[str]
    ref: Mapped[str | None]
    commit: Mapped[str | None]
    before: Mapped[str | None]
    title: Mapped[str | None]
    reason: Mapped[str | None]
