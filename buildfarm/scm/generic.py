"""Any other SCM: Standard Webhooks around a small JSON body. `hook.py` makes a git server send it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from buildfarm.scm import standard
from buildfarm.scm.port import Event, EventKind, Step, Verification
from buildfarm.scm.reasons import Reason
from buildfarm.scm.secret import Secret, SecretKind
from buildfarm.scm.wire import (
    asks_to_skip,
    commit,
    json_object,
    line,
    lowered,
    ref,
    unparsable,
    url,
    usable_id,
)


class Generic:
    """The farm's own payload, described in docs/webhooks.md.

    A push needs `type`, `ref` and `after`; `repository`, `repository_url`, `actor`, `title`, `message` (the
    head commit's, searched for `[skip ci]`) and `commit` (what an annotated tag points to) are optional.
    `before`, what the ref held, tells pushes that arrive out of order.
    """

    kind: Final = "generic"
    secret_kinds: Final[tuple[SecretKind, ...]] = ("signing",)

    def delivery_id(self, headers: Mapping[str, str]) -> str | None:
        """`webhook-id`, which is signed."""
        return usable_id(lowered(headers).get(standard.ID))

    def verify(
        self, headers: Mapping[str, str], body: bytes, secrets: Sequence[Secret], now: datetime
    ) -> Verification:
        """Check the Standard Webhooks signature."""
        signing = [secret for secret in secrets if secret.kind == "signing"]
        result = standard.check(lowered(headers), body, signing, now)
        if signing:
            return result
        step = Step("secrets", False, "the source has no live signing token")
        return Verification(False, None, (step,), result.delivery_id, Reason.SECRET_NOT_SET)

    def parse(self, headers: Mapping[str, str], body: bytes) -> Event:
        """Read a push or ping.

        Raises:
            InvalidInput: code `hook.unparsable`.
        """
        payload = json_object(headers, body)
        match payload.get("type"):
            case "push":
                return _push(payload)
            case "ping":
                return _about(payload, EventKind.PING, title=line(payload.get("title")) or "ping")
            case other:
                return _about(payload, EventKind.OTHER, title=line(other) or "an event without a type")


def _about(payload: dict[str, Any], kind: EventKind, **rest: Any) -> Event:  # noqa: ANN401
    return Event(
        kind,
        repository=line(payload.get("repository")),
        repository_url=url(payload.get("repository_url")),
        actor=line(payload.get("actor")) or None,
        **rest,
    )


def _push(payload: dict[str, Any]) -> Event:
    if "after" not in payload:
        unparsable("The payload has no member `after` with the new commit.")
    name = ref(payload.get("ref"))
    if not name:
        return _about(payload, EventKind.OTHER, title=f"push to {line(payload.get('ref'))}")
    kind = EventKind.TAG if name.startswith("refs/tags/") else EventKind.PUSH
    after = commit(payload["after"])
    if after is None:
        return _about(payload, kind, ref=name, deleted=True, title=f"{name} deleted")
    title, message = payload.get("title"), payload.get("message")
    return _about(
        payload,
        kind,
        ref=name,
        commit=commit(payload.get("commit")) or after,
        before=commit(payload.get("before")),
        title=line(title) or line(message) or f"push to {name}",
        skip=kind is EventKind.PUSH and (asks_to_skip(title) or asks_to_skip(message)),
    )
