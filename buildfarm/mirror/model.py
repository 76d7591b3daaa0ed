"""Tables of the mirror: upstream pages as they were last confirmed, files of theirs that are kept here."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Text
from sqlalchemy.orm import Mapped, mapped_column

from buildfarm.db.types import Base, Packed, Serial


class UpstreamPage(Base):
    """A project page of an upstream index, so that a restart while it is away still serves.

    `upstream` is the index that owns the name: fixed at first use, its URL without credentials. `content`
    holds the rows (`buildfarm.mirror.page`); `version` counts its changes, from 1. `serial` is the last
    `X-PyPI-Last-Serial`, which never goes back.
    """

    __tablename__ = "upstream_page"

    project: Mapped[str] = mapped_column(primary_key=True)
    upstream: Mapped[str]
    etag: Mapped[str | None]
    serial: Mapped[int | None] = mapped_column(Serial)
    is_json: Mapped[bool]
    version: Mapped[int]
    content: Mapped[Any] = mapped_column(Packed)
    #: When the page last came whole, was last confirmed, and last changed.
    fetched_at: Mapped[datetime]
    checked_at: Mapped[datetime] = mapped_column(index=True)
    changed_at: Mapped[datetime]


class UpstreamFile(Base):
    """First sight of an upstream file: from then on its name means these bytes.

    The row stays when the bytes are evicted. `refused` is the sentence of the rule that the bytes broke;
    `findings` are the rules that were reported without refusing.
    """

    __tablename__ = "upstream_file"

    filename: Mapped[str] = mapped_column(primary_key=True)
    project: Mapped[str] = mapped_column(index=True)
    sha256: Mapped[str] = mapped_column(index=True)
    size: Mapped[int] = mapped_column(Serial)
    url: Mapped[str]
    seen_at: Mapped[datetime]
    last_used_at: Mapped[datetime]
    metadata_sha256: Mapped[str | None]
    refused: Mapped[str | None] = mapped_column(Text)
    findings: Mapped[list[Any]] = mapped_column(default=list)
