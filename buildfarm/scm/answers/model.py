"""Tables of the outbox: what is to be said to SCMs, where comments stand, who is not asked now."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, Index, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from buildfarm.db.types import Base, Serial

_WAITING = text("state = 'waiting'")


class Answer(Base):
    """One thing that an SCM is told; sent in the order of `id` for each host.

    `kind` is `status`, `comment` or `reply`, which is what a command below the `request` of that number got.
    `state` is `waiting`, `sent`, `refused` (by the SCM, `error` says why) or
    `dropped` (nobody is to be told any more). `text` is a status's telling line, or the comment. `remote_id`
    is the SCM's id of what a status made there, where it has one. `build_id` is None of a commit that waits
    for approval.
    """

    __tablename__ = "answer"
    __table_args__ = (
        Index("ix_answer_waiting", "host", "id", sqlite_where=_WAITING, postgresql_where=_WAITING),
        Index("ix_answer_newest", "source_id", "commit", "context", "id"),
        Index("ix_answer_settled", "host", "settled_at"),
        Index("ix_answer_state", "source_id", "state", "settled_at"),
    )

    id: Mapped[int] = mapped_column(Serial, primary_key=True)
    source_id: Mapped[str] = mapped_column(ForeignKey("source.id"))
    build_id: Mapped[str | None] = mapped_column(ForeignKey("build.id"), index=True)
    host: Mapped[str]
    kind: Mapped[str]
    commit: Mapped[str]
    ref: Mapped[str]
    context: Mapped[str]
    outcome: Mapped[str]
    description: Mapped[str]
    path: Mapped[str]
    text: Mapped[str] = mapped_column(Text)
    request: Mapped[int | None]
    state: Mapped[str]
    error: Mapped[str | None] = mapped_column(Text)
    remote_id: Mapped[str | None]
    noted_at: Mapped[datetime]
    settled_at: Mapped[datetime | None]


class AnswerComment(Base):
    """The farm's comment on a pull or merge request, which is changed instead of written again."""

    __tablename__ = "answer_comment"

    source_id: Mapped[str] = mapped_column(ForeignKey("source.id"), primary_key=True)
    context: Mapped[str] = mapped_column(primary_key=True)
    request: Mapped[str] = mapped_column(primary_key=True)
    comment_id: Mapped[str]


class AnswerPause(Base):
    """A host, or one source of it (by id), that is not told anything until then; `failures` in a row."""

    __tablename__ = "answer_pause"

    key: Mapped[str] = mapped_column(primary_key=True)
    since: Mapped[datetime]
    until: Mapped[datetime]
    failures: Mapped[int]
    code: Mapped[str]
    sentence: Mapped[str] = mapped_column(Text)
