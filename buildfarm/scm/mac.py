"""HMACs whose cost tells a sender nothing about which secrets exist."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Mapping, Sequence

from buildfarm.scm.port import Step, Verification
from buildfarm.scm.reasons import Reason
from buildfarm.scm.secret import Secret

#: Live secrets a source has at most: the one in use and the one that replaces it.
SLOTS = 2

_DECOY = b"\0" * 32


def hmacs(keys: Sequence[bytes], parts: Iterable[bytes]) -> list[bytes]:
    """HMAC-SHA256 of the joined parts under each key, in order.

    Free slots are filled with work under a decoy key and thrown away: a source with one secret, one
    with two and an unknown source spend the same time on the same body.
    """
    running = [hmac.new(key, digestmod=hashlib.sha256) for key in (*keys, *[_DECOY] * (SLOTS - len(keys)))]
    for part in parts:
        for each in running:
            each.update(part)
    return [each.digest() for each in running][: len(keys)]


def check_header(
    lower: Mapping[str, str],
    name: str,
    message: bytes,
    secrets: Sequence[Secret],
    *,
    prefix: str = "",
    delivery_id: str | None,
    missing: str = "",
) -> Verification:
    """Verify a header that holds HMAC-SHA256 of the message in lower-case hex, after a prefix.

    Args:
        lower: The request's headers, their names in lower case.
        name: The header's name as the SCM writes it.
        message: What is signed: for most SCMs the raw body.
        secrets: Live secrets of the source; those of the kind `hmac` count.
        prefix: What stands before the digits, such as `sha256=`.
        delivery_id: The sender's id of this delivery, for the verdict.
        missing: What to add where the header did not come.
    """
    usable = [secret for secret in secrets if secret.kind == "hmac"]
    digests = hmacs([secret.key() for secret in usable], (message,))
    received = lower.get(name.lower(), "").encode("utf-8", "backslashreplace")
    wanted = [f"{prefix}{digest.hex()}".encode() for digest in digests]
    found, steps = tried(usable, [hmac.compare_digest(one, received) for one in wanted])
    if not usable:
        step = Step("secrets", False, "the source has no live secret")
        return Verification(False, None, (step,), delivery_id, Reason.SECRET_NOT_SET)
    if not received:
        step = Step("signature header", False, f"{name} is missing{missing}")
        return Verification(False, None, (step,), delivery_id, Reason.SIGNATURE_MISSING)
    steps.insert(0, Step("signature header", True, f"{name} came"))
    reason = None if found else Reason.SIGNATURE_WRONG
    return Verification(found is not None, found, tuple(steps), delivery_id, reason)


def tried(secrets: Sequence[Secret], matches: Sequence[bool]) -> tuple[str | None, list[Step]]:
    """The id of the first secret that matched, and a step for the ledger about each one."""
    steps = [
        Step(f"secret {secret.id}", match, "matches" if match else "does not match")
        for secret, match in zip(secrets, matches, strict=True)
    ]
    ids = [secret.id for secret, match in zip(secrets, matches, strict=True) if match]
    return (ids[0] if ids else None), steps


def same_text(received: str, expected: bytes) -> bool:
    """Whether a header equals a secret, in time that depends on neither content nor length of the secret."""
    came = hashlib.sha256(received.encode("utf-8", "backslashreplace")).digest()
    return hmac.compare_digest(came, hashlib.sha256(expected).digest())
