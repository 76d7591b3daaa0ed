"""What every SCM's API is asked for: `Forge`, and what it takes and gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol

#: The longest description of a status that every SCM takes whole; GitHub's limit.
DESCRIPTION_MAX = 140


class Outcome(StrEnum):
    """How far something is, in the words that all SCMs can be told."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCESS = "success"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True)
class Status:
    """What a commit is marked with.

    Attributes:
        commit: The full id.
        ref: The full ref that was built, `refs/heads/main`.
        context: The name under which the SCM keeps it; a later status of the same name replaces it.
        outcome: How far it is.
        description: One line, at most `DESCRIPTION_MAX` characters.
        url: The page that tells more.
        error: The telling line of a failure as the log has it; empty when there is none.
    """

    commit: str
    ref: str
    context: str
    outcome: Outcome
    description: str
    url: str
    error: str = ""


@dataclass(frozen=True)
class WantedHook:
    """How the farm wants its hook to be. The events are the SCM's own business: those the receiver reads."""

    url: str
    secret: str = field(repr=False)
    signing_token: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Hook:
    """A hook as the SCM has it.

    `events` are in the SCM's words; `trouble` is what the SCM says of its last calls, empty when it is well.
    `suspended`: the SCM itself has stopped calling it because calls failed, and a test call that is taken
    makes it go on.
    """

    id: str
    url: str
    events: frozenset[str]
    enabled: bool
    trouble: str = ""
    suspended: bool = False


@dataclass(frozen=True)
class FailedDelivery:
    """A call that the hook's receiver did not take: the SCM's id of this try, and of what it carried."""

    id: str
    delivery_id: str
    event: str
    at: datetime
    answer: str


class HookForge(Protocol):
    """What an SCM's API is asked about hooks, of one repository or of one owner of many.

    Every call is one question, or a few, to the SCM.

    Raises, all of them:
        Conflict: `forge.token_refused`, `forge.not_allowed`, `forge.not_found`, `forge.moved`,
            `forge.refused` (the SCM's own words); asking again is of no use until somebody changes something.
        ExternalFailure: `forge.away`, `forge.rate_limited` (fact `until`); asking again may help.
    """

    @property
    def events(self) -> frozenset[str]:
        """The events that the hook is wanted for, in the SCM's words."""
        ...

    @property
    def pings(self) -> bool:
        """Whether the SCM can be asked to test a hook."""
        ...

    @property
    def redelivers(self) -> bool:
        """Whether the SCM can be asked for failed deliveries, and to send one again."""
        ...

    def hooks(self) -> Sequence[Hook]:
        """The hooks of the repository or owner itself."""
        ...

    def create_hook(self, wanted: WantedHook) -> Hook:
        """A new hook with the events of `events`."""
        ...

    def edit_hook(self, hook_id: str, wanted: WantedHook) -> Hook:
        """Make the hook what is wanted: address, secrets, events, switched on."""
        ...

    def delete_hook(self, hook_id: str) -> None:
        """Remove the hook."""
        ...

    def ping_hook(self, hook_id: str) -> None:
        """Have the SCM call the hook; only where `pings`."""
        ...

    def failed_deliveries(self, hook_id: str, since: datetime) -> Sequence[FailedDelivery]:
        """Calls since then that were not taken, and were not taken later either; only where `redelivers`."""
        ...

    def redeliver(self, hook_id: str, delivery: FailedDelivery) -> None:
        """Have the SCM send it again; only where `redelivers`."""
        ...


class Forge(HookForge, Protocol):
    """The API of one SCM for one repository; errors are those of `HookForge`."""

    def set_status(self, status: Status, known: str | None) -> str | None:
        """Mark a commit.

        `known` is what the last call for this commit and context answered: the SCM's id of what is to be
        changed, None where there is nothing to change or the SCM finds it by name.
        """
        ...

    def requests_of(self, commit: str) -> Sequence[str]:
        """The numbers of the open pull or merge requests that the commit is part of."""
        ...

    def comment(self, request: str, text: str, known: str | None) -> str:
        """Have `text` (Markdown) stand as the farm's comment on a request; the comment's id.

        `known` is the comment's id, if it was written before. The same text is not written twice.
        """
        ...

    def may_write(self, user: str) -> bool:
        """Whether a person may push to the repository, as the SCM has it now.

        `user` is as comments name their authors: GitLab's numeric id, Bitbucket Cloud's UUID, elsewhere the
        name. Who is nobody there may not.
        """
        ...
