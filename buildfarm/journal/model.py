"""Tables of the journal: rows, the head that orders them, the nodes of its Merkle tree, checkpoints."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Index, LargeBinary, Text
from sqlalchemy.orm import Mapped, mapped_column

from buildfarm.db.types import Base, Serial


class JournalRow(Base):
    """One change. `body` is RFC 8785 JSON; `leaf` the bytes that the Merkle tree hashes.

    `project` and `version` (canonical, PEP 440) say what the change is about, where it is about one.
    """

    __tablename__ = "journal"
    __table_args__ = (Index("ix_journal_about", "project", "version", "serial"),)

    serial: Mapped[int] = mapped_column(Serial, primary_key=True, autoincrement=False)
    kind: Mapped[str]
    project: Mapped[str | None]
    version: Mapped[str | None]
    at: Mapped[datetime]
    body: Mapped[str] = mapped_column(Text)
    leaf: Mapped[bytes] = mapped_column(LargeBinary)


class JournalHead(Base):
    """The one row that is locked last: serials are dense and in commit order."""

    __tablename__ = "journal_head"

    id: Mapped[int] = mapped_column(primary_key=True)
    size: Mapped[int] = mapped_column(Serial)


class JournalNode(Base):
    """The root of a complete subtree: 2**level leaves, the index-th of its level (RFC 9162)."""

    __tablename__ = "journal_node"

    level: Mapped[int] = mapped_column(primary_key=True)
    index: Mapped[int] = mapped_column(Serial, primary_key=True, autoincrement=False)
    hash: Mapped[bytes] = mapped_column(LargeBinary)


class Checkpoint(Base):
    """The signed head of the journal at one size."""

    __tablename__ = "checkpoint"

    size: Mapped[int] = mapped_column(Serial, primary_key=True, autoincrement=False)
    note: Mapped[str] = mapped_column(Text)
    at: Mapped[datetime]
