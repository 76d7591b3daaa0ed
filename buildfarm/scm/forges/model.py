"""The table of what the farm may say to SCMs: one credential for the API of each source."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, Text
from sqlalchemy.orm import Mapped, mapped_column

from buildfarm.db.types import Base


class ForgeAccess(Base):
    """How the SCM of a source is spoken to, and the hook that the farm has installed there.

    `token` is kept as `SourceCredential`'s secrets are, and not loaded unless a query says so; with `app_id`
    it is a GitHub App's private key. `host` is the part of `api_url` that pauses and budgets go by.
    """

    __tablename__ = "forge_access"

    source_id: Mapped[str] = mapped_column(ForeignKey("source.id"), primary_key=True)
    api_url: Mapped[str]
    host: Mapped[str]
    app_id: Mapped[str | None]
    token: Mapped[str] = mapped_column(Text, deferred=True, deferred_raiseload=True)
    ca: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime]
    last_used_at: Mapped[datetime | None]
    hook_id: Mapped[str | None]
