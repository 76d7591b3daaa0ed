"""GitHub and GitHub Enterprise Server, and the SCMs that sign like them (Gitea, Forgejo)."""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from buildfarm.scm.mac import hmacs, tried
from buildfarm.scm.port import Event, EventKind, Step, Verification
from buildfarm.scm.reasons import Reason
from buildfarm.scm.secret import Secret, SecretKind
from buildfarm.scm.wire import (
    asks_to_skip,
    at,
    commit,
    json_object,
    line,
    lowered,
    ref,
    unparsable,
    url,
    usable_id,
)

_SIGNATURE, _LEGACY, _EVENT, _DELIVERY = (
    "x-hub-signature-256",
    "x-hub-signature",
    "x-github-event",
    "x-github-delivery",
)


class GitHub:
    """GitHub's wire format (docs.github.com, "Webhook events and payloads", GHES 3.6 and later)."""

    kind: Final = "github"
    secret_kinds: Final[tuple[SecretKind, ...]] = ("hmac",)

    def delivery_id(self, headers: Mapping[str, str]) -> str | None:
        """`X-GitHub-Delivery`: a GUID that a redelivery keeps. It is not covered by the signature."""
        return usable_id(lowered(headers).get(_DELIVERY))

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
        delivery_id = usable_id(lower.get(_DELIVERY))
        usable = [secret for secret in secrets if secret.kind == "hmac"]
        digests = hmacs([secret.key() for secret in usable], (body,))
        received = lower.get(_SIGNATURE, "").encode("utf-8", "backslashreplace")

        matches = [hmac.compare_digest(b"sha256=" + digest.hex().encode(), received) for digest in digests]
        found, steps = tried(usable, matches)
        if not received:
            alone = " (X-Hub-Signature, which is SHA-1, came alone)" if _LEGACY in lower else ""
            missing = Step("signature header", False, f"X-Hub-Signature-256 is missing{alone}")
            return Verification(False, None, (missing,), delivery_id, Reason.SIGNATURE_MISSING)
        steps.insert(0, Step("signature header", True, "X-Hub-Signature-256 came"))
        if not usable:
            steps.append(Step("secrets", False, "the source has no live secret"))
            return Verification(False, None, tuple(steps), delivery_id, Reason.SECRET_NOT_SET)
        reason = None if found else Reason.SIGNATURE_WRONG
        return Verification(found is not None, found, tuple(steps), delivery_id, reason)

    def parse(self, headers: Mapping[str, str], body: bytes) -> Event:
        """Read a payload sent as JSON or as form data with one field `payload`.

        Raises:
            InvalidInput: code `hook.unparsable`.
        """
        name = line(lowered(headers).get(_EVENT), 100)
        if not name:
            unparsable("The header X-GitHub-Event is missing, so the event has no name.")
        payload = json_object(headers, body, form=True)
        match name, payload.get("action"):
            case "push", _:
                return _push(payload)
            case "delete", _:
                return _delete(payload)
            case "release", "published":
                return _release(payload)
            case "ping", _:
                return _about(payload, EventKind.PING, title=line(payload.get("zen")) or "ping")
            case _, action:
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
    name = ref(payload.get("ref"))
    if not name:
        return _about(payload, EventKind.OTHER, title=f"push to {line(payload.get('ref'))}")
    after = commit(payload.get("after"))
    if after is None or payload.get("deleted") is True:
        return _deleted(payload, name)
    kind = EventKind.TAG if name.startswith("refs/tags/") else EventKind.PUSH
    message = at(payload, "head_commit", "message")
    return _about(
        payload,
        kind,
        ref=name,
        # For an annotated tag `after` is the tag object; head_commit is what it points to.
        commit=commit(at(payload, "head_commit", "id")) or after,
        before=commit(payload.get("before")),
        title=line(message) or f"push to {name}",
        skip=kind is EventKind.PUSH and asks_to_skip(message),
    )


def _delete(payload: dict[str, Any]) -> Event:
    spaces = {"branch": "refs/heads/", "tag": "refs/tags/"}
    prefix, name = spaces.get(line(payload.get("ref_type"))), payload.get("ref")
    if prefix is None or not isinstance(name, str):
        unparsable("The payload does not say which branch or tag was deleted.")
    return _deleted(payload, ref(prefix + name))


def _deleted(payload: dict[str, Any], name: str) -> Event:
    kind = EventKind.TAG if name.startswith("refs/tags/") else EventKind.PUSH
    return _about(payload, kind, ref=name, deleted=True, title=f"{name} deleted")


def _release(payload: dict[str, Any]) -> Event:
    tag = at(payload, "release", "tag_name")
    name = ref(f"refs/tags/{tag}") if isinstance(tag, str) and tag else ""
    title = line(at(payload, "release", "name")) or line(tag) or "release"
    return _about(payload, EventKind.RELEASE, ref=name, title=title)
