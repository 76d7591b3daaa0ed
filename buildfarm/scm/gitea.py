"""Gitea: payloads in GitHub's form, signed in a way of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from buildfarm.scm.github import event_of
from buildfarm.scm.mac import check_header
from buildfarm.scm.port import Event, Verification
from buildfarm.scm.secret import Secret, SecretKind
from buildfarm.scm.wire import lowered, signed_part, usable_id


class Gitea:
    """Gitea's wire format (docs.gitea.com, "Webhooks").

    It sends GitHub's and Gogs' headers beside its own; only its own are read.
    """

    kind: str = "gitea"
    secret_kinds: tuple[SecretKind, ...] = ("hmac",)
    brand: str = "Gitea"

    def delivery_id(self, headers: Mapping[str, str]) -> str | None:
        """`X-Gitea-Delivery`: a UUID that a redelivery keeps. It is not covered by the signature."""
        return usable_id(lowered(headers).get(f"x-{self.brand.lower()}-delivery"))

    def verify(
        self, headers: Mapping[str, str], body: bytes, secrets: Sequence[Secret], now: datetime
    ) -> Verification:
        """Check `X-Gitea-Signature`, bare hex. Of a form the JSON in its field is signed, not the body."""
        return check_header(
            lowered(headers), f"X-{self.brand}-Signature", signed_part(headers, body), secrets,
            delivery_id=self.delivery_id(headers),
        )  # fmt: skip

    def parse(self, headers: Mapping[str, str], body: bytes) -> tuple[Event, ...]:
        """Read a payload sent as JSON or as form data with one field `payload`.

        Raises:
            InvalidInput: code `hook.unparsable`.
        """
        return (event_of(headers, f"X-{self.brand}-Event", body),)
