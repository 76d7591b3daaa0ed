"""GitHub and GitHub Enterprise Server."""

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

_LEGACY = "x-hub-signature"
_SPACES = {"branch": "refs/heads/", "tag": "refs/tags/"}
# `synchronize` is GitHub's word, `synchronized` Gitea's and Forgejo's.
_PULL_REQUEST: Mapping[object, Literal["opened", "updated", "closed"]] = {
    "opened": "opened",
    "reopened": "opened",
    "synchronize": "updated",
    "synchronized": "updated",
    "closed": "closed",
}


class GitHub:
    """GitHub's wire format (docs.github.com, "Webhook events and payloads", GHES 3.6 and later)."""

    kind: Final = "github"
    secret_kinds: Final[tuple[SecretKind, ...]] = ("hmac",)

    def delivery_id(self, headers: Mapping[str, str]) -> str | None:
        """`X-GitHub-Delivery`: a GUID that a redelivery keeps. It is not covered by the signature."""
        return usable_id(lowered(headers).get("x-github-delivery"))

    def verify(
        self,
        headers: Mapping[str, str],
        body: bytes,
        secrets: Sequence[Secret],
        now: datetime,
    ) -> Verification:
        """Check `X-Hub-Signature-256` over the raw body; the SHA-1 `X-Hub-Signature` alone is not enough.

        GitHub signs no time, so `now` plays no part.
        """
        lower = lowered(headers)
        alone = " (X-Hub-Signature, which is SHA-1, came alone)" if _LEGACY in lower else ""
        return check_header(
            lower, "X-Hub-Signature-256", body, secrets, prefix="sha256=",
            delivery_id=self.delivery_id(headers), missing=alone,
        )  # fmt: skip

    def parse(self, headers: Mapping[str, str], body: bytes) -> tuple[Event, ...]:
        """Read a payload sent as JSON or as form data with one field `payload`.

        Raises:
            InvalidInput: code `hook.unparsable`.
        """
        return (event_of(headers, "X-GitHub-Event", body),)


def event_of(headers: Mapping[str, str], header: str, body: bytes) -> Event:
    """The event of a payload in GitHub's form, named by a header; Gitea's and Forgejo's have that form too.

    Raises:
        InvalidInput: code `hook.unparsable`.
    """
    name = event_name(headers, header)
    payload = json_object(headers, body, form=True)
    action = payload.get("action")
    match name, action:
        case "push", _:
            return _push(payload)
        case "delete", _:
            return _delete(payload)
        case "release", "published":
            return _release(payload)
        case "pull_request", str() if action in _PULL_REQUEST:
            return _pull_request(payload, _PULL_REQUEST[action])
        case (("issue_comment" | "pull_request_comment"), "created"):
            return _comment(payload)
        case "repository", ("renamed" | "transferred" | "archived"):
            return _repository(payload, action)
        case "ping", _:
            return _about(payload, EventKind.PING, title=line(payload.get("zen")) or "ping")
        case _:
            return _about(payload, EventKind.OTHER, title=f"{name} {line(action, 100)}".strip())


def _about(payload: dict[str, Any], kind: EventKind, **rest: Any) -> Event:  # noqa: ANN401
    actor = at(payload, "sender", "login") or at(payload, "pusher", "name")
    return Event(
        kind,
        repository=line(at(payload, "repository", "full_name")),
        repository_url=url(at(payload, "repository", "clone_url")),
        actor=line(actor) or None,
        **rest,
    )


def _push(payload: dict[str, Any]) -> Event:
    after = None if payload.get("deleted") is True else commit(payload.get("after"))
    # For an annotated tag `after` is the tag object; head_commit is what it points to.
    head = commit(at(payload, "head_commit", "id")) if after else None
    return refs.changed(
        _about(payload, EventKind.OTHER),
        payload.get("ref"),
        head or after,
        before=commit(payload.get("before")),
        message=at(payload, "head_commit", "message"),
    )


def _delete(payload: dict[str, Any]) -> Event:
    prefix, name = _SPACES.get(line(payload.get("ref_type"))), payload.get("ref")
    if prefix is None or not isinstance(name, str):
        unparsable("The payload does not say which branch or tag was deleted.")
    return refs.changed(_about(payload, EventKind.OTHER), prefix + name, None)


def _release(payload: dict[str, Any]) -> Event:
    tag = at(payload, "release", "tag_name")
    name = ref(f"refs/tags/{tag}") if isinstance(tag, str) and tag else ""
    title = line(at(payload, "release", "name")) or line(tag) or "release"
    return _about(payload, EventKind.RELEASE, ref=name, title=title)


def _pull_request(payload: dict[str, Any], action: Literal["opened", "updated", "closed"]) -> Event:
    about = _about(payload, EventKind.PULL_REQUEST)
    asked = at(payload, "pull_request")
    head_repository = line(at(asked, "head", "repo", "full_name"))
    found = PullRequest(
        number=number(payload.get("number")),
        action=action,
        head_repository=head_repository,
        base=ref(f"refs/heads/{at(asked, 'base', 'ref')}"),
        from_fork=head_repository.lower() != about.repository.lower(),
        title=line(at(asked, "title")),
    )
    return replace(
        about, ref=f"refs/pull/{found.number}/head", commit=commit(at(asked, "head", "sha")),
        pull_request=found,
        title=f"pull request {found.number} {action}: {found.title}",
    )  # fmt: skip


def _comment(payload: dict[str, Any]) -> Event:
    """A comment on an issue, or on a pull request, which is one here."""
    issue = payload.get("issue")
    is_request = bool(at(issue, "pull_request")) or payload.get("is_pull") is True
    place = number(at(issue, "number"))
    return commented(
        _about(payload, EventKind.OTHER),
        at(payload, "comment", "body"),
        comment=at(payload, "comment", "id"),
        request=place if is_request else None,
        issue=None if is_request else place,
        author=at(payload, "comment", "user", "login"),
    )


def _repository(payload: dict[str, Any], action: str) -> Event:
    about = _about(payload, EventKind.REPOSITORY, title=f"repository {action}")
    owner, name = at(payload, "repository", "owner", "login"), at(payload, "repository", "name")
    match action:
        case "archived":
            return replace(about, change=Change.ARCHIVED)
        case "renamed":
            change, name = Change.RENAMED, at(payload, "changes", "repository", "name", "from")
        case _:
            was = at(payload, "changes", "owner", "from")
            owner = at(was, "user", "login") or at(was, "organization", "login")
            change = Change.MOVED
    return replace(
        about, change=change, repository=line(f"{owner}/{name}"),
        moved_to=about.repository_url or about.repository or None,
    )  # fmt: skip
