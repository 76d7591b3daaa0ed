"""Any other SCM: Standard Webhooks around a small JSON body, or what a source's settings say it sends.

`hook.py` makes a git server send the first; `generic_settings.py` has the settings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, ClassVar

from jsonpointer import resolve_pointer

from buildfarm.scm import refs, standard
from buildfarm.scm.generic_settings import GenericSettings, Pointers
from buildfarm.scm.mac import check_header
from buildfarm.scm.port import Event, EventKind, Step, Verification
from buildfarm.scm.reasons import Reason
from buildfarm.scm.secret import Secret, SecretKind
from buildfarm.scm.wire import commit, json_object, line, lowered, unparsable, url, usable_id

_BY_DEFAULT = GenericSettings()


@dataclass(frozen=True)
class Generic:
    """The farm's own payload, described in docs/scm/other.md, unless the settings say otherwise.

    A push needs `type`, `ref` and `after`; `repository`, `repository_url`, `actor`, `title`, `message` (the
    head commit's, searched for `[skip ci]`) and `commit` (what an annotated tag points to) are optional.
    `before`, what the ref held, tells pushes that arrive out of order.
    """

    settings: GenericSettings = _BY_DEFAULT
    kind: ClassVar[str] = "generic"

    @property
    def secret_kinds(self) -> tuple[SecretKind, ...]:
        """The one that the way of signing needs."""
        return ("signing",) if self.settings.signature is None else ("hmac",)

    def delivery_id(self, headers: Mapping[str, str]) -> str | None:
        """`webhook-id`, which Standard Webhooks sign; of a sender of another kind no id is known."""
        if self.settings.signature:
            return None
        return usable_id(lowered(headers).get(standard.ID))

    def verify(
        self, headers: Mapping[str, str], body: bytes, secrets: Sequence[Secret], now: datetime
    ) -> Verification:
        """Check the Standard Webhooks signature, or the HMAC in the header that the settings name."""
        if signature := self.settings.signature:
            return check_header(
                lowered(headers), signature.header, body, secrets, prefix=signature.prefix, delivery_id=None
            )
        signing = [secret for secret in secrets if secret.kind == "signing"]
        result = standard.check(lowered(headers), body, signing, now)
        if signing:
            return result
        step = Step("secrets", False, "the source has no live signing token")
        return Verification(False, None, (step,), result.delivery_id, Reason.SECRET_NOT_SET)

    def parse(self, headers: Mapping[str, str], body: bytes) -> tuple[Event, ...]:
        """Read a push or ping, or what the pointers of the settings lead to.

        Raises:
            InvalidInput: code `hook.unparsable`.
        """
        payload = json_object(headers, body)
        pointers = self.settings.pointers
        return (_event(payload) if pointers is None else _pointed(payload, pointers),)


def _event(payload: dict[str, Any]) -> Event:
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
    after = commit(payload["after"])
    return refs.changed(
        _about(payload, EventKind.OTHER),
        payload.get("ref"),
        (commit(payload.get("commit")) or after) if after else None,
        before=commit(payload.get("before")),
        title=payload.get("title"),
        message=payload.get("message"),
    )


def _pointed(payload: dict[str, Any], pointers: Pointers) -> Event:
    def found(pointer: str | None) -> Any:  # noqa: ANN401 - JSON
        return None if pointer is None else resolve_pointer(payload, pointer, None)

    about = Event(EventKind.OTHER, repository=line(found(pointers.repository)))
    name = found(pointers.ref)
    if name is None:
        return replace(about, title=f"nothing at {pointers.ref}")
    after = None if found(pointers.deleted) is True else commit(found(pointers.commit))
    return refs.changed(about, name, after, before=commit(found(pointers.before)))
