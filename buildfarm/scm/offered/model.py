"""The table of repositories that connections told of."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from buildfarm.db.types import Base, Json


class OfferedRepository(Base):
    """A repository of a connection's owner that no source listened to when it was pushed to.

    `state` is `waiting` (for a look at it), `offered` (it holds a recipe: `recipes` are their names), `plain`
    (it holds none), `unreadable` (`problem` says why), `accepted` or `dismissed`. `path` is the SCM's
    name of the repository. `ref` is what is looked at, and built when it is accepted: what was pushed last,
    once it is offered the last that its source will follow.
    """

    __tablename__ = "offered_repository"
    __table_args__ = (UniqueConstraint("connection_id", "url"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    connection_id: Mapped[str] = mapped_column(ForeignKey("source.id"))
    path: Mapped[str]
    url: Mapped[str]
    ref: Mapped[str]
    state: Mapped[str]
    recipes: Mapped[list[Any]] = mapped_column(Json)
    problem: Mapped[str | None] = mapped_column(Text)
    told_at: Mapped[datetime]
    looked_at: Mapped[datetime | None]
