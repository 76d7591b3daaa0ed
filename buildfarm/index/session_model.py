"""Tables of upload sessions (PEP 694): files that wait to be published together."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, Text, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from buildfarm.db.types import Base, Serial

_OPEN, _THERE = text("status = 'open'"), text("status <> 'canceled'")


class UploadSession(Base):
    """A release that is being put together; `key` is the version's one spelling.

    Status: `open` -> `published` | `canceled`. `token` opens the preview to whoever knows it; `creator` is
    a principal's id: for a project that is new here, nobody else but administrators has a part in it.
    """

    __tablename__ = "upload_session"
    __table_args__ = (
        # One live session for each release of a channel; of two that are made at once, one loses.
        Index(
            "ix_upload_session_live", "channel", "project", "key",
            unique=True, sqlite_where=_OPEN, postgresql_where=_OPEN,
        ),
    )  # fmt: skip

    id: Mapped[str] = mapped_column(primary_key=True)
    token: Mapped[str] = mapped_column(unique=True)
    channel: Mapped[str] = mapped_column(ForeignKey("channel.name"))
    project: Mapped[str] = mapped_column(index=True)
    version: Mapped[str]
    key: Mapped[str]
    creator: Mapped[str | None]
    status: Mapped[str]
    notices: Mapped[list[Any]]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    files: Mapped[list[UploadFile]] = relationship(order_by="UploadFile.id", lazy="selectin")


class UploadFile(Base):
    """A file of a session. Status: `pending` -> `completed` | `error`, and from each of them `canceled`.

    `facts` is what the validator found (JSON text), `attestations` what came along (JSON text).
    """

    __tablename__ = "upload_file"
    __table_args__ = (
        Index(
            "ix_upload_file_live", "session_id", "filename",
            unique=True, sqlite_where=_THERE, postgresql_where=_THERE,
        ),
    )  # fmt: skip

    id: Mapped[str] = mapped_column(primary_key=True)
    session_id: Mapped[str] = mapped_column(ForeignKey("upload_session.id"), index=True)
    filename: Mapped[str]
    size: Mapped[int] = mapped_column(Serial)
    hashes: Mapped[dict[str, Any]]
    status: Mapped[str]
    notice: Mapped[str | None] = mapped_column(Text)
    facts: Mapped[str | None] = mapped_column(Text)
    attestations: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime]
