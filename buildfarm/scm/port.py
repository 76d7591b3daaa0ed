"""What every SCM offers: `verify` a delivery on its raw bytes, then `parse` it into events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Literal, Protocol

from buildfarm.scm.commands.rules import Command
from buildfarm.scm.reasons import Reason
from buildfarm.scm.secret import Secret, SecretKind


@dataclass(frozen=True)
class Step:
    """One line of the ledger: what was checked and how it went.

    `detail` names secrets by id and never holds a secret or a received credential.
    """

    name: str
    ok: bool
    detail: str


@dataclass(frozen=True)
class Verification:
    """Whether a known secret stands behind a delivery, and how that was found out.

    `reason` is set exactly when `ok` is false; `secret_id` names the secret that matched, which lets a
    source see when the old one of a rotation is no longer used.
    """

    ok: bool
    secret_id: str | None
    steps: tuple[Step, ...]
    delivery_id: str | None
    reason: Reason | None = None


class EventKind(StrEnum):
    """What happened, as far as the farm cares."""

    PUSH = "push"
    TAG = "tag"
    RELEASE = "release"
    PULL_REQUEST = "pull_request"
    COMMENT = "comment"
    REPOSITORY = "repository"
    PING = "ping"
    OTHER = "other"


@dataclass(frozen=True)
class PullRequest:
    """A pull request (GitLab: merge request) that was opened, got new commits, or is over.

    Attributes:
        number: Its number within the repository.
        action: `opened` (again, too), `updated` or `closed` (merged, too).
        head_repository: Full name of the repository its commits come from; empty when that is gone.
        base: Full name of the branch it is meant for.
        from_fork: Its commits come from another repository, so from whoever could fork this one.
        title: What its author calls it; may be empty.
    """

    number: int
    action: Literal["opened", "updated", "closed"]
    head_repository: str
    base: str
    from_fork: bool
    title: str = ""


@dataclass(frozen=True)
class Comment:
    """A command that somebody wrote in a comment.

    Attributes:
        command: What it asks.
        request: The number of the pull request that it stands below; None where it stands elsewhere.
        author: Who wrote it, as `Forge.may_write` takes it.
        id: The SCM's id of the comment; empty where it has none.
        issue: The number of the issue that it stands below, where the SCM's API writes there as it does below
            requests: nothing is done, but that can be said.
    """

    command: Command
    request: int | None
    author: str
    id: str = ""
    issue: int | None = None

    @property
    def place(self) -> int | None:
        """The number below which it can be answered."""
        return self.request or self.issue


class Change(StrEnum):
    """What happened to a repository as a whole."""

    RENAMED = "renamed"
    MOVED = "moved"
    ARCHIVED = "archived"


@dataclass(frozen=True)
class Event:
    """What a delivery announces. A hint, not a fact: the fetcher resolves the ref and names the commit.

    Attributes:
        kind: What happened.
        ref: Full ref name, `refs/heads/main` or `refs/tags/v1`; of a pull request the one that holds its
            head. Empty where the event has none.
        commit: The announced commit, 40 or 64 lower-case hex digits; for an annotated tag the commit it
            points to where the SCM says so, else the tag object. None for deletions, for GitHub's
            releases and where nothing is announced.
        before: The commit that the branch held before a push; None where it is new or nobody says.
        deleted: The ref is gone.
        repository: Full name such as `acme/widget`; empty when the sender named none. Of a repository that
            was renamed or moved it is the name it had.
        repository_url: An http, https, ssh or git URL, else None.
        actor: Who did it, in the SCM's words.
        title: One line for people: the commit's subject, the release's name, or what happened.
        skip: The head commit asks for no build; never set for tags and releases.
        pull_request: Set for that kind alone; `commit` is its head.
        comment: Set for the kind `comment` where it is a command.
        change: Set for the kind `repository` alone.
        moved_to: The URL or full name that a renamed or moved repository has now.
    """

    kind: EventKind
    ref: str = ""
    commit: str | None = None
    before: str | None = None
    deleted: bool = False
    repository: str = ""
    repository_url: str | None = None
    actor: str | None = None
    title: str = ""
    skip: bool = False
    pull_request: PullRequest | None = None
    comment: Comment | None = None
    change: Change | None = None
    moved_to: str | None = None


class Scm(Protocol):
    """One kind of SCM. Implementations are pure and hold no state but a source's settings.

    Headers are taken case-insensitively, their values as any WSGI server gives them.
    """

    @property
    def kind(self) -> str:
        """The name in `source add --scm`."""
        ...

    @property
    def secret_kinds(self) -> tuple[SecretKind, ...]:
        """The kinds of secret a source of this SCM has, the weakest first."""
        ...

    def delivery_id(self, headers: Mapping[str, str]) -> str | None:
        """The sender's id of this delivery, the same when it is sent again; None when absent or unusable."""
        ...

    def verify(
        self, headers: Mapping[str, str], body: bytes, secrets: Sequence[Secret], now: datetime
    ) -> Verification:
        """Decide whether one of the secrets stands behind these raw bytes. Never raises for what was sent.

        Every secret is tried and the work is the same whatever matches; for an unknown source pass no
        secrets and use the verdict's cost, not its words.
        """
        ...

    def parse(self, headers: Mapping[str, str], body: bytes) -> tuple[Event, ...]:
        """What a verified delivery announces, in the sender's order; at least one event.

        Raises:
            InvalidInput: code `hook.unparsable`; fact `reason` is `Reason.BODY_UNPARSABLE` or
                `Reason.CONTENT_TYPE`.
        """
        ...
