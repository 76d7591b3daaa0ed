"""Pull requests of a source (GitLab: merge requests): which are built, and where their files go."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import select
from sqlalchemy.orm import Session

from buildfarm.db import keyset
from buildfarm.errors import InvalidInput, NotFound
from buildfarm.sources.model import PullRequest, Source
from buildfarm.sources.names import STAGE_PREFIX

#: The longest name of a channel.
_LONGEST = 63


class Policy(StrEnum):
    """Which pull requests of a source are built.

    `none`; those of its `own` branches; those of forks as well, each commit once it was `approved`.
    """

    NONE = "none"
    OWN = "own"
    APPROVED = "approved"


@dataclass(frozen=True)
class ApprovalRow:
    """Who let a commit of a fork be built."""

    commit: str
    actor: str
    approved_at: datetime


@dataclass(frozen=True)
class PullRequestRow:
    """A pull request as people see it.

    `head` is the commit announced last, `needs_approval` says that it is a fork's and nobody approved it.
    `stage` is the channel that has its files until `stage_until`, None where there is none.
    """

    source: str
    number: int
    title: str | None
    author: str | None
    base: str
    head: str | None
    head_repository: str
    is_fork: bool
    needs_approval: bool
    opened_at: datetime
    closed_at: datetime | None
    stage: str | None
    stage_until: datetime | None
    approvals: tuple[ApprovalRow, ...]


def checked_policy(text: str) -> Policy:
    """The policy of that name.

    Raises:
        InvalidInput: `source.pull_requests`.
    """
    try:
        return Policy(text)
    except ValueError as err:
        raise InvalidInput(
            f"{text[:40]!r} says nothing of pull requests.",
            code="source.pull_requests",
            hint=f"Choose of {', '.join(Policy)}.",
        ) from err


def stage_name(source: str, number: int) -> str:
    """The channel for what is built of a pull request, such as `pr-widget-17`."""
    name = f"{STAGE_PREFIX}{source}-{number}"
    if len(name) <= _LONGEST:
        return name
    # Cut off, two long names could become one; of a digest they do not.
    tail = f"-{hashlib.sha256(source.encode()).hexdigest()[:12]}-{number}"
    return f"{STAGE_PREFIX}{source}"[: _LONGEST - len(tail)] + tail


def find(session: Session, source_id: str, number: int) -> PullRequest | None:
    """The pull request of that number, if a delivery told of it."""
    one = select(PullRequest).where(PullRequest.source_id == source_id, PullRequest.number == number)
    return session.scalars(one).first()


def get(session: Session, source_id: str, number: int) -> PullRequest:
    """The pull request of that number.

    Raises:
        NotFound: `pull_request.unknown`.
    """
    found = find(session, source_id, number)
    if found is None:
        raise NotFound(
            f"No delivery told of a pull request {number} of this source.",
            code="pull_request.unknown",
            hint="Its next commit will; `buildfarm source pull-requests` shows those that are known.",
        )
    return found


def list_open(
    session: Session, source_id: str, source: str, *, before: int | None = None, limit: int = 50
) -> tuple[list[PullRequestRow], str | None]:
    """Those of a source that are open and that it builds, or that have a stage still; the newest first.

    And the number to ask on with as `before`; None on the last page.
    """
    own = PullRequest.is_fork.is_(False) & (Source.pull_requests != Policy.NONE)
    is_built = own | (Source.pull_requests == Policy.APPROVED)
    live = (PullRequest.closed_at.is_(None) & is_built) | PullRequest.stage.is_not(None)
    query = select(PullRequest).join(Source).where(PullRequest.source_id == source_id, live)
    if before:
        query = query.where(PullRequest.number < before)
    found = session.scalars(query.order_by(PullRequest.number.desc()).limit(limit + 1))
    return keyset.cut([row(one, source) for one in found], limit, lambda one: str(one.number))


def is_approved(pull_request: PullRequest, commit: str | None) -> bool:
    """Whether somebody let that very commit be built."""
    return commit is not None and any(one.commit == commit for one in pull_request.approvals)


def row(pull_request: PullRequest, source: str) -> PullRequestRow:
    """The read model of a row."""
    same = (
        "number", "title", "author", "base", "head", "head_repository", "is_fork", "opened_at", "closed_at",
        "stage", "stage_until",
    )  # fmt: skip
    return PullRequestRow(
        source=source,
        needs_approval=pull_request.is_fork and not is_approved(pull_request, pull_request.head),
        approvals=tuple(ApprovalRow(a.commit, a.actor, a.approved_at) for a in pull_request.approvals),
        **{name: getattr(pull_request, name) for name in same},
    )
