"""The Standard Webhooks signature (standardwebhooks.com, specification 1.0), also GitLab's signing token."""

from __future__ import annotations

import base64
import binascii
import hmac
import math
from collections.abc import Mapping, Sequence
from datetime import datetime

from buildfarm.scm.mac import hmacs, tried
from buildfarm.scm.port import Step, Verification
from buildfarm.scm.reasons import Reason
from buildfarm.scm.secret import Secret
from buildfarm.scm.wire import usable_id

ID, TIMESTAMP, SIGNATURE = "webhook-id", "webhook-timestamp", "webhook-signature"

#: Seconds that sender's and farm's clocks may differ, in both directions.
WINDOW = 300

_LONGEST_TIMESTAMP = 12  # digits; year 33658


def sign(secret: Secret, delivery_id: str, timestamp: int, body: bytes) -> str:
    """The `webhook-signature` value for a body; `timestamp` in seconds since 1970."""
    (digest,) = hmacs([secret.key()], (f"{delivery_id}.{timestamp}.".encode(), body))
    return "v1," + base64.b64encode(digest).decode("ascii")


def check(headers: Mapping[str, str], body: bytes, secrets: Sequence[Secret], now: datetime) -> Verification:
    """Verify lower-case headers against signing secrets; the work does not depend on what was sent."""
    sent_id, sent_at = headers.get(ID, ""), headers.get(TIMESTAMP, "")
    prefix = f"{sent_id}.{sent_at}.".encode("utf-8", "backslashreplace")
    digests = hmacs([secret.key() for secret in secrets], (prefix, body))
    received = _signatures(headers.get(SIGNATURE, ""))

    # A sum, since any() would spare the comparisons after the one that matched.
    matches = [sum(hmac.compare_digest(digest, each) for each in received) > 0 for digest in digests]
    found, steps = tried(secrets, matches)
    missing = [name for name in (ID, TIMESTAMP, SIGNATURE) if not headers.get(name)]
    if missing:
        steps = [Step("signature headers", False, f"missing: {', '.join(missing)}")]
        return Verification(False, None, tuple(steps), None, Reason.SIGNATURE_MISSING)
    delivery_id = usable_id(sent_id)
    count = f"{len(received)} of version v1"
    steps.insert(0, Step("signature headers", bool(received), count if received else "none of version v1"))
    if delivery_id is None or not _is_timestamp(sent_at):
        steps.append(Step("id and timestamp", False, "not a printable id and seconds since 1970"))
        return Verification(False, None, tuple(steps), None, Reason.SIGNATURE_WRONG)
    if found is None:
        return Verification(False, None, tuple(steps), delivery_id, Reason.SIGNATURE_WRONG)

    drift = math.floor(now.timestamp()) - int(sent_at)
    side = "behind" if drift >= 0 else "ahead of"
    inside = abs(drift) <= WINDOW
    steps.append(Step("clock", inside, f"{abs(drift)} s {side} the farm's clock; {WINDOW} s are allowed"))
    if not inside:
        return Verification(False, None, tuple(steps), delivery_id, Reason.TIMESTAMP_OUTSIDE_WINDOW)
    return Verification(True, found, tuple(steps), delivery_id)


def _is_timestamp(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= _LONGEST_TIMESTAMP


def _signatures(header: str) -> list[bytes]:
    """The v1 signatures of a header that may hold several, separated by spaces; others are passed over."""
    found = []
    for part in header.split(" "):
        version, _, text = part.partition(",")
        if version != "v1":
            continue
        try:
            mac = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            continue
        # Several texts decode to the same bytes; the one that encodes them is taken (RFC 4648, section 3.5).
        if base64.b64encode(mac).decode() == text:
            found.append(mac)
    return found
