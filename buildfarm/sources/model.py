"""Tables of sources: the repositories the farm listens to, their hooks' secrets, their pull requests."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from buildfarm.db.types import Base, Serial

#: What a source listens to: one repository, or all of an owner's.
REPOSITORY, OWNER = "repository", "owner"


class Source(Base):
    """A repository the farm listens to; `projects` are the names it may publish.

    One whose `scope` is `owner` is a connection: it listens for all repositories of the organisation, group
    or project at `url`, is never built, and hands its patterns and tier to the sources that come of it.

    `branches` and `tags` are globs of what it follows; with `paths`, a push to a branch is built only where a
    file changed that one of these names. `pull_requests` says which of those are built (`sources.pulls`).
    `scm_settings` is what its receiver is told (`scm.generic_settings`), `moved_to` where the SCM says that
    the repository is now. `reads` are the channels whose projects of ours its builds may read. `jobs_max` is
    how many of its jobs may be with builders at a time; None for any number.
    """

    __tablename__ = "source"

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    scope: Mapped[str] = mapped_column(default=REPOSITORY)
    scm: Mapped[str]
    url: Mapped[str]
    projects: Mapped[list[Any]]
    branches: Mapped[list[Any]]
    tags: Mapped[list[Any]]
    paths: Mapped[list[Any]]
    pull_requests: Mapped[str]
    scm_settings: Mapped[dict[str, Any] | None]
    moved_to: Mapped[str | None]
    tier: Mapped[str]
    reads: Mapped[list[Any]]
    recipe: Mapped[str | None]
    jobs_max: Mapped[int | None]
    created_at: Mapped[datetime]
    secrets: Mapped[list[SourceSecret]] = relationship(order_by="SourceSecret.created_at", lazy="selectin")
    credential: Mapped[SourceCredential | None] = relationship(lazy="selectin")


class PullRequest(Base):
    """A pull request (GitLab: merge request) of a source's repository, as deliveries tell of it.

    `head` is the commit that was announced last, None where none was; `base` the full name of the branch that
    it is meant for. One `is_fork`ed has commits of whoever could fork the repository. `opened_at` is when it
    was opened last. `stage` is the channel that has its files, None while there is none, `stage_until` when
    that ends.
    """

    __tablename__ = "pull_request"
    __table_args__ = (UniqueConstraint("source_id", "number"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    source_id: Mapped[str] = mapped_column(ForeignKey("source.id"))
    number: Mapped[int] = mapped_column(Serial)
    title: Mapped[str | None]
    author: Mapped[str | None]
    ref: Mapped[str]
    base: Mapped[str]
    head: Mapped[str | None]
    head_repository: Mapped[str]
    is_fork: Mapped[bool]
    opened_at: Mapped[datetime]
    closed_at: Mapped[datetime | None]
    stage: Mapped[str | None] = mapped_column(unique=True)
    stage_until: Mapped[datetime | None] = mapped_column(index=True)
    approvals: Mapped[list[Approval]] = relationship(order_by="Approval.approved_at", lazy="selectin")


class Approval(Base):
    """That somebody looked at one commit of a forked repository and lets it be built."""

    __tablename__ = "pull_request_approval"

    pull_request_id: Mapped[str] = mapped_column(ForeignKey("pull_request.id"), primary_key=True)
    commit: Mapped[str] = mapped_column(primary_key=True)
    actor: Mapped[str]
    approved_at: Mapped[datetime]


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
