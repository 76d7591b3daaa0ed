"""Bitbucket Cloud: every ref of a push in one delivery, branches and tags by their short names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final, Literal

from buildfarm.scm import refs
from buildfarm.scm.comments import commented
from buildfarm.scm.mac import check_header
from buildfarm.scm.port import Change, Event, EventKind, PullRequest, Step, Verification
from buildfarm.scm.secret import Secret, SecretKind
from buildfarm.scm.wire import (
    at,
    commit,
    event_name,
    json_object,
    line,
    lowered,
    number,
    ref,
    unparsable,
    url,
    usable_id,
)

_SPACES = {"branch": "refs/heads/", "tag": "refs/tags/"}
_PULL_REQUEST: Mapping[str, Literal["opened", "updated", "closed"]] = {
    "pullrequest:created": "opened",
    "pullrequest:updated": "updated",
    "pullrequest:fulfilled": "closed",
    "pullrequest:rejected": "closed",
}


class BitbucketCloud:
    """Bitbucket Cloud's wire format (support.atlassian.com, "Event payloads").

    A payload over 256 KB is never sent; the sweep finds what it would have announced.
    """

    kind: Final = "bitbucket-cloud"
    secret_kinds: Final[tuple[SecretKind, ...]] = ("hmac",)

    def delivery_id(self, headers: Mapping[str, str]) -> str | None:
        """`X-Request-UUID`, which its further attempts keep. It is not covered by the signature."""
        return usable_id(lowered(headers).get("x-request-uuid"))

    def verify(
        self, headers: Mapping[str, str], body: bytes, secrets: Sequence[Secret], now: datetime
    ) -> Verification:
        """Check `X-Hub-Signature`, which is `sha256=` and hex here; the ledger says which attempt it was."""
        lower = lowered(headers)
        found = check_header(
            lower, "X-Hub-Signature", body, secrets, prefix="sha256=", delivery_id=self.delivery_id(headers)
        )
        attempt = lower.get("x-attempt-number", "")
        if not (attempt.isascii() and attempt.isdigit() and len(attempt) < 4):
            return found
        return replace(found, steps=(*found.steps, Step("attempt", True, f"number {attempt} of the sender")))

    def parse(self, headers: Mapping[str, str], body: bytes) -> tuple[Event, ...]:
        """Read the refs of a push, a pull request, or a change of the repository.

        Raises:
            InvalidInput: code `hook.unparsable`.
        """
        key = event_name(headers, "X-Event-Key")
        payload = json_object(headers, body)
        match key:
            case "repo:push":
                return _pushed(payload)
            case "repo:updated":
                return (_updated(payload),)
            case "repo:transfer":
                return (_transferred(payload),)
            case "pullrequest:comment_created":
                return (_comment(payload),)
            case _ if key in _PULL_REQUEST:
                return (_pull_request(payload, _PULL_REQUEST[key]),)
            case _:
                return (_about(payload, EventKind.OTHER, title=key),)


def _about(payload: dict[str, Any], kind: EventKind, **rest: Any) -> Event:  # noqa: ANN401
    actor = at(payload, "actor", "nickname") or at(payload, "actor", "display_name")
    return Event(
        kind,
        repository=line(at(payload, "repository", "full_name")),
        repository_url=url(at(payload, "repository", "links", "html", "href")),
        actor=line(actor) or None,
        **rest,
    )


def _pushed(payload: dict[str, Any]) -> tuple[Event, ...]:
    changes = at(payload, "push", "changes")
    if not isinstance(changes, list) or not changes:
        unparsable("The payload has no list `push.changes` of the refs that were pushed.")
    about = _about(payload, EventKind.OTHER)
    return tuple(_change(about, change) for change in changes)


def _change(about: Event, change: object) -> Event:
    new, old = at(change, "new"), at(change, "old")
    named = new or old
    prefix, name = _SPACES.get(line(at(named, "type"))), at(named, "name")
    if not isinstance(name, str):
        unparsable("The payload does not name a branch or tag that was pushed.")
    if prefix is None:
        return replace(about, title=f"push to {line(at(named, 'type'))} {line(name)}")
    return refs.changed(
        about,
        prefix + name,
        commit(at(new, "target", "hash")),
        before=commit(at(old, "target", "hash")),
        message=at(new, "target", "message"),
    )


def _updated(payload: dict[str, Any]) -> Event:
    was = line(at(payload, "changes", "full_name", "old"))
    about = _about(payload, EventKind.REPOSITORY, title="repository renamed")
    if not was or was.lower() == about.repository.lower():
        return replace(about, kind=EventKind.OTHER, title="repo:updated")
    return replace(about, change=Change.RENAMED, repository=was, moved_to=about.repository_url)


def _transferred(payload: dict[str, Any]) -> Event:
    about = _about(payload, EventKind.REPOSITORY, title="repository moved", change=Change.MOVED)
    was = line(at(payload, "previous_workspace", "slug"))
    slug = about.repository.rpartition("/")[2]
    name = f"{was}/{slug}" if was else about.repository
    return replace(about, repository=name, moved_to=about.repository_url or about.repository or None)


def _comment(payload: dict[str, Any]) -> Event:
    return commented(
        _about(payload, EventKind.OTHER),
        at(payload, "comment", "content", "raw"),
        comment=at(payload, "comment", "id"),
        request=number(at(payload, "pullrequest", "id")),
        author=at(payload, "comment", "user", "uuid"),
    )


def _pull_request(payload: dict[str, Any], action: Literal["opened", "updated", "closed"]) -> Event:
    about = _about(payload, EventKind.PULL_REQUEST)
    asked = payload.get("pullrequest")
    head_repository = line(at(asked, "source", "repository", "full_name"))
    sent = at(asked, "source", "commit", "hash")
    found = PullRequest(
        number=number(at(asked, "id")),
        action=action,
        head_repository=head_repository,
        base=ref(f"refs/heads/{at(asked, 'destination', 'branch', 'name')}"),
        from_fork=head_repository.lower() != about.repository.lower(),
        title=line(at(asked, "title")),
    )
    branch = at(asked, "source", "branch", "name")
    is_here = isinstance(branch, str) and not found.from_fork
    return replace(
        about,
        # There is no ref of the request itself: its commits are to be had by the branch, where that is here.
        ref=ref(f"refs/heads/{branch}") if is_here else "",
        # Abbreviated to 12 digits in most payloads, which names no commit for sure.
        commit=commit(sent) if isinstance(sent, str) and len(sent) >= 40 else None,
        pull_request=found,
        title=f"pull request {found.number} {action}: {line(at(asked, 'title'))}",
    )
