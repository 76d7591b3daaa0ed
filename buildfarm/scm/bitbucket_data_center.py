"""Bitbucket Data Center: every ref of a push in one delivery."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final, Literal

from buildfarm.scm import refs
from buildfarm.scm.comments import commented
from buildfarm.scm.mac import check_header
from buildfarm.scm.port import Change, Event, EventKind, PullRequest, Verification
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

_PULL_REQUEST: Mapping[str, Literal["opened", "updated", "closed"]] = {
    "pr:opened": "opened",
    "pr:from_ref_updated": "updated",
    "pr:merged": "closed",
    "pr:declined": "closed",
    "pr:deleted": "closed",
}


class BitbucketDataCenter:
    """Bitbucket Data Center's wire format (confluence.atlassian.com, "Event payload", 7.21 and later).

    It names no commit message, so `[skip ci]` is not seen.
    """

    kind: Final = "bitbucket-data-center"
    secret_kinds: Final[tuple[SecretKind, ...]] = ("hmac",)

    def delivery_id(self, headers: Mapping[str, str]) -> str | None:
        """`X-Request-Id`. It is not covered by the signature."""
        return usable_id(lowered(headers).get("x-request-id"))

    def verify(
        self, headers: Mapping[str, str], body: bytes, secrets: Sequence[Secret], now: datetime
    ) -> Verification:
        """Check `X-Hub-Signature`, which is `sha256=` and hex here."""
        return check_header(
            lowered(headers), "X-Hub-Signature", body, secrets, prefix="sha256=",
            delivery_id=self.delivery_id(headers),
        )  # fmt: skip

    def parse(self, headers: Mapping[str, str], body: bytes) -> tuple[Event, ...]:
        """Read the refs of a push, a pull request, a change of the repository, or the connection test.

        Raises:
            InvalidInput: code `hook.unparsable`.
        """
        key = event_name(headers, "X-Event-Key")
        payload = json_object(headers, body)
        match key:
            case "diagnostics:ping":
                return (_about(payload, EventKind.PING, title="connection test"),)
            case "repo:refs_changed":
                return _pushed(payload)
            case "repo:modified":
                return (_modified(payload),)
            case "pr:comment:added":
                return (_comment(payload),)
            case _ if key in _PULL_REQUEST:
                return (_pull_request(payload, _PULL_REQUEST[key]),)
            case _:
                return (_about(payload, EventKind.OTHER, title=key),)


def _about(payload: dict[str, Any], kind: EventKind, **rest: Any) -> Event:  # noqa: ANN401
    repository = payload.get("repository")
    return Event(
        kind,
        repository=_full_name(repository),
        repository_url=_clone_url(repository),
        actor=line(at(payload, "actor", "name")) or None,
        **rest,
    )


def _full_name(repository: object) -> str:
    project, slug = line(at(repository, "project", "key")), line(at(repository, "slug"))
    return f"{project}/{slug}" if project and slug else ""


def _clone_url(repository: object) -> str | None:
    links = at(repository, "links", "clone")
    offered = links if isinstance(links, list) else []
    return url(next((at(one, "href") for one in offered if at(one, "name") == "http"), None))


def _pushed(payload: dict[str, Any]) -> tuple[Event, ...]:
    changes = payload.get("changes")
    if not isinstance(changes, list) or not changes:
        unparsable("The payload has no list `changes` of the refs that were pushed.")
    about = _about(payload, EventKind.OTHER)
    return tuple(
        refs.changed(
            about,
            at(change, "ref", "id"),
            None if at(change, "type") == "DELETE" else commit(at(change, "toHash")),
            before=commit(at(change, "fromHash")),
        )
        for change in changes
    )


def _modified(payload: dict[str, Any]) -> Event:
    old, new = payload.get("old"), payload.get("new")
    about = _about(payload | {"repository": old}, EventKind.REPOSITORY)
    if at(new, "archived") is True and at(old, "archived") is not True:
        return replace(about, change=Change.ARCHIVED, title="repository archived")
    if _full_name(old).lower() == _full_name(new).lower():
        return replace(about, kind=EventKind.OTHER, title="repo:modified")
    is_moved = at(old, "project", "key") != at(new, "project", "key")
    change = Change.MOVED if is_moved else Change.RENAMED
    moved_to = _clone_url(new) or _full_name(new) or None
    return replace(about, change=change, moved_to=moved_to, title=f"repository {change}")


def _comment(payload: dict[str, Any]) -> Event:
    asked = payload.get("pullRequest")
    here = {"repository": at(asked, "toRef", "repository")}
    return commented(
        _about(payload | here, EventKind.OTHER),
        at(payload, "comment", "text"),
        comment=at(payload, "comment", "id"),
        request=number(at(asked, "id")),
        author=at(payload, "comment", "author", "name"),
    )


def _pull_request(payload: dict[str, Any], action: Literal["opened", "updated", "closed"]) -> Event:
    asked = payload.get("pullRequest")
    base, head = at(asked, "toRef"), at(asked, "fromRef")
    about = _about(payload | {"repository": at(base, "repository")}, EventKind.PULL_REQUEST)
    found = PullRequest(
        number=number(at(asked, "id")),
        action=action,
        head_repository=_full_name(at(head, "repository")),
        base=ref(at(base, "id")),
        from_fork=_full_name(at(head, "repository")).lower() != about.repository.lower(),
        title=line(at(asked, "title")),
    )
    return replace(
        about, ref=f"refs/pull-requests/{found.number}/from", commit=commit(at(head, "latestCommit")),
        pull_request=found,
        title=f"pull request {found.number} {action}: {found.title}",
    )  # fmt: skip
