"""HMACs whose cost tells a sender nothing about which secrets exist."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Sequence

from buildfarm.scm.port import Step
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
