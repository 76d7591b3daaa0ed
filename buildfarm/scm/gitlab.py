"""GitLab, self-managed or hosted: project, group and system hooks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final, Literal

from buildfarm.scm import refs, standard
from buildfarm.scm.comments import commented
from buildfarm.scm.mac import same_text, tried
from buildfarm.scm.port import Change, Event, EventKind, PullRequest, Step, Verification
from buildfarm.scm.reasons import Reason
from buildfarm.scm.secret import Secret, SecretKind
from buildfarm.scm.wire import at, commit, json_object, line, lowered, number, ref, url, usable_id

_TOKEN = "x-gitlab-token"  # noqa: S105 - a header's name
# In order of trust: the first is signed, the second stays over retries (GitLab 17.4), the third is the
# only one that older versions send.
_IDS = (standard.ID, "idempotency-key", "x-gitlab-event-uuid")
_MERGE_REQUEST: Mapping[str, Literal["opened", "updated", "closed"]] = {
    "open": "opened",
    "reopen": "opened",
    "update": "updated",
    "close": "closed",
    "merge": "closed",
}


class GitLab:
    """GitLab's wire format (docs.gitlab.com, "Webhooks" and "Webhook events")."""

    kind: Final = "gitlab"
    secret_kinds: Final[tuple[SecretKind, ...]] = ("token", "signing")

    def delivery_id(self, headers: Mapping[str, str]) -> str | None:
        """`webhook-id`, else `Idempotency-Key`, else `X-Gitlab-Event-UUID`."""
        lower = lowered(headers)
        return next((found for name in _IDS if (found := usable_id(lower.get(name)))), None)

    def verify(
        self, headers: Mapping[str, str], body: bytes, secrets: Sequence[Secret], now: datetime
    ) -> Verification:
        """Check the signing token where one is configured and a signature came, else `X-Gitlab-Token`.

        Whoever once read the classic token, which travels in the clear in every request, must not be able to
        send any body with it. So a wrong signature never falls back to it, and no signature only until the
        hook is first seen to sign.
        """
        lower = lowered(headers)
        delivery_id = self.delivery_id(headers)
        signing = [secret for secret in secrets if secret.kind == "signing"]
        tokens = [secret for secret in secrets if secret.kind == "token"]
        signed = standard.check(lower, body, signing, now)
        by_token = _by_token(lower, tokens, delivery_id)
        if not signing and not tokens:
            step = Step("secrets", False, "the source has no live secret")
            return Verification(False, None, (step,), delivery_id, Reason.SECRET_NOT_SET)
        if standard.SIGNATURE not in lower:
            return _unsigned(delivery_id) if any(secret.in_use for secret in signing) else by_token
        if signing:
            return signed
        passed_over = Step("signature headers", True, "passed over: the source has no signing token")
        return Verification(
            by_token.ok, by_token.secret_id, (passed_over, *by_token.steps), delivery_id, by_token.reason
        )

    def parse(self, headers: Mapping[str, str], body: bytes) -> tuple[Event, ...]:
        """Read what the body says it is, since test requests send odd headers.

        Raises:
            InvalidInput: code `hook.unparsable`.
        """
        return (_event(json_object(headers, body)),)


def _event(payload: dict[str, Any]) -> Event:
    # Older system hooks have no object_kind.
    match payload.get("object_kind") or payload.get("event_name"), payload.get("action"):
        case (("push" | "tag_push"), _):
            return _push(payload)
        case "release", "create":
            return _release(payload)
        case "note", _:
            return _note(payload)
        case "merge_request", _:
            return _merge_request(payload)
        case (("project_rename" | "project_transfer") as name, _):
            change = Change.RENAMED if name == "project_rename" else Change.MOVED
            return _about(
                payload, EventKind.REPOSITORY, change=change, title=f"repository {change}",
                moved_to=line(payload.get("path_with_namespace")) or None,
            )  # fmt: skip
        case name, action:
            title = f"{line(name, 100)} {line(action, 100)}".strip()
            return _about(payload, EventKind.OTHER, title=title or "an event without a name")


def _unsigned(delivery_id: str | None) -> Verification:
    step = Step("signature headers", False, "missing, and the hook has signed before: no token replaces them")
    return Verification(False, None, (step,), delivery_id, Reason.SIGNATURE_MISSING)


def _by_token(lower: Mapping[str, str], tokens: Sequence[Secret], delivery_id: str | None) -> Verification:
    received = lower.get(_TOKEN, "")
    found, steps = tried(tokens, [same_text(received, secret.key()) for secret in tokens])
    if not received or not tokens:
        what = "X-Gitlab-Token is missing" if not received else "X-Gitlab-Token came, no such secret is live"
        step = Step("credential headers", False, f"webhook-signature is missing, {what}")
        return Verification(False, None, (step,), delivery_id, Reason.SIGNATURE_MISSING)
    steps.insert(0, Step("credential headers", True, "X-Gitlab-Token came"))
    reason = None if found else Reason.SIGNATURE_WRONG
    return Verification(found is not None, found, tuple(steps), delivery_id, reason)


def _about(payload: dict[str, Any], kind: EventKind, **rest: Any) -> Event:  # noqa: ANN401
    actor = payload.get("user_username") or payload.get("user_name") or at(payload, "user", "username")
    # Of the two the hooks of a system have only the second, for a project that went elsewhere.
    name = at(payload, "project", "path_with_namespace") or payload.get("old_path_with_namespace")
    return Event(
        kind,
        repository=line(name),
        repository_url=url(at(payload, "project", "git_http_url")),
        actor=line(actor) or None,
        **rest,
    )


def _push(payload: dict[str, Any]) -> Event:
    after = commit(payload.get("after"))
    # For an annotated tag `after` is the tag object and checkout_sha what it points to.
    head = (commit(payload.get("checkout_sha")) or after) if after else None
    return refs.changed(
        _about(payload, EventKind.OTHER),
        payload.get("ref"),
        head,
        before=commit(payload.get("before")),
        message=_message_of(head, payload.get("commits")),
        skip=at(payload, "push_options", "ci", "skip") is not None,
    )


def _message_of(head: str | None, commits: object) -> object:
    """The head commit's message, when it is among the 20 commits at most that a push lists."""
    listed = commits if isinstance(commits, list) else []
    return next((at(each, "message") for each in reversed(listed) if at(each, "id") == head), None)


def _release(payload: dict[str, Any]) -> Event:
    tag = payload.get("tag")
    return _about(
        payload,
        EventKind.RELEASE,
        ref=ref(f"refs/tags/{tag}") if isinstance(tag, str) and tag else "",
        commit=commit(at(payload, "commit", "id")),
        title=line(payload.get("name")) or line(tag) or "release",
    )


def _merge_request(payload: dict[str, Any]) -> Event:
    about = _about(payload, EventKind.PULL_REQUEST)
    asked = at(payload, "object_attributes")
    sent = line(at(asked, "action"), 100)
    # Labels, titles and approvals are updates as well; `oldrev` comes with new commits alone.
    if sent not in _MERGE_REQUEST or (sent == "update" and at(asked, "oldrev") is None):
        return replace(about, kind=EventKind.OTHER, title=f"merge_request {sent}".strip())
    head_project = at(asked, "source_project_id")
    found = PullRequest(
        number=number(at(asked, "iid")),
        action=_MERGE_REQUEST[sent],
        head_repository=line(at(asked, "source", "path_with_namespace")),
        base=ref(f"refs/heads/{at(asked, 'target_branch')}"),
        from_fork=head_project is None or head_project != at(asked, "target_project_id"),
        title=line(at(asked, "title")),
    )
    return replace(
        about, ref=f"refs/merge-requests/{found.number}/head",
        commit=commit(at(asked, "last_commit", "id")), pull_request=found,
        title=f"merge request {found.number} {found.action}: {found.title}",
    )  # fmt: skip


def _note(payload: dict[str, Any]) -> Event:
    about, note = _about(payload, EventKind.OTHER), at(payload, "object_attributes")
    # Older versions name no action, and tell of new notes alone.
    if at(note, "system") is True or at(note, "action") not in (None, "create"):
        return replace(about, title=f"note {line(at(note, 'action'), 100)}".strip())
    is_request = at(note, "noteable_type") == "MergeRequest"
    return commented(
        about,
        at(note, "note"),
        comment=at(note, "id"),
        request=number(at(payload, "merge_request", "iid")) if is_request else None,
        author=at(note, "author_id"),
    )
