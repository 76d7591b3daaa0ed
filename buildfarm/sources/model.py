"""Tables of sources: the repositories the farm listens to, and the secrets of their hooks."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from buildfarm.db.types import Base


class Source(Base):
    """A repository the farm listens to; `projects` are the names it may publish.

    `branches` and `tags` are globs of what it follows; with `paths`, a push to a branch is built only where a
    file changed that one of these names. `scm_settings` is what its receiver is told
    (`scm.generic_settings`), `moved_to` where the SCM says that the repository is now.
    `reads` are the channels whose projects of ours its builds may read. `jobs_max` is how many of its jobs
    may be with builders at a time; None for any number.
    """

    __tablename__ = "source"

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    scm: Mapped[str]
    url: Mapped[str]
    projects: Mapped[list[Any]]
    branches: Mapped[list[Any]]
    tags: Mapped[list[Any]]
    paths: Mapped[list[Any]]
    scm_settings: Mapped[dict[str, Any] | None]
    moved_to: Mapped[str | None]
    tier: Mapped[str]
    reads: Mapped[list[Any]]
    recipe: Mapped[str | None]
    jobs_max: Mapped[int | None]
    created_at: Mapped[datetime]
    secrets: Mapped[list[SourceSecret]] = relationship(order_by="SourceSecret.created_at", lazy="selectin")
    credential: Mapped[SourceCredential | None] = relationship(lazy="selectin")


class SourceSecret(Base):
    """One live secret of a source's hook; two may live while they are rotated."""

    __tablename__ = "source_secret"

    id: Mapped[str] = mapped_column(primary_key=True)
    source_id: Mapped[str] = mapped_column(ForeignKey("source.id"), index=True)
    kind: Mapped[str]
    value: Mapped[str]
    created_at: Mapped[datetime]
    last_used_at: Mapped[datetime | None]


class SourceCredential(Base):
    """What a private repository asks of the farm, one for each source; read by the fetcher's asker alone.

    In clear: encryption at rest is not done yet. `kind` says which of the columns is the secret one;
    neither is loaded unless a query says so.
    """

    __tablename__ = "source_credential"

    source_id: Mapped[str] = mapped_column(ForeignKey("source.id"), primary_key=True)
    kind: Mapped[str]
    username: Mapped[str]
    password: Mapped[str | None] = mapped_column(deferred=True, deferred_raiseload=True)
    ssh_key: Mapped[str | None] = mapped_column(Text, deferred=True, deferred_raiseload=True)
    known_hosts: Mapped[str] = mapped_column(Text)
    ca: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime]
    last_used_at: Mapped[datetime | None]
