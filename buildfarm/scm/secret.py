"""Hook secrets: made here, refused when weak, never shown by `repr`."""

from __future__ import annotations

import base64
import binascii
import secrets
from dataclasses import dataclass, field
from typing import Literal

from buildfarm.errors import InvalidInput

#: `hmac` keys GitHub's signature, `token` is GitLab's classic header, `signing` is Standard Webhooks.
SecretKind = Literal["hmac", "token", "signing"]

#: How a Standard Webhooks key is written.
SIGNING_PREFIX = "whsec_"

_SHORTEST = 16  # characters
_KEY_BYTES = range(24, 65)  # Standard Webhooks, "Signature scheme": between 24 and 64 bytes


@dataclass(frozen=True)
class Secret:
    """One live secret of a source. Two are live while one replaces the other.

    `in_use` says that it was seen to stand behind a delivery before.

    Raises:
        InvalidInput: code `source.secret_weak`; an empty or short secret would be an open door, so no
            `Secret` can hold one.
    """

    id: str
    value: str = field(repr=False)
    kind: SecretKind
    in_use: bool = False

    def __post_init__(self) -> None:
        check_secret(self.kind, self.value)

    def key(self) -> bytes:
        """The bytes that key the HMAC, or that the classic header must equal."""
        if self.kind == "signing":
            return base64.b64decode(self.value.removeprefix(SIGNING_PREFIX))
        return self.value.encode()


def new_secret(kind: SecretKind) -> str:
    """A fresh secret with 256 random bits, in the form the SCM's settings page takes."""
    if kind == "signing":
        return SIGNING_PREFIX + base64.b64encode(secrets.token_bytes(32)).decode("ascii")
    return secrets.token_urlsafe(32)


def check_secret(kind: SecretKind, value: str) -> None:
    """Refuse a secret that is guessable, or that its header cannot carry.

    Raises:
        InvalidInput: code `source.secret_weak`.
    """
    problem = _signing_problem(value) if kind == "signing" else _text_problem(value)
    if problem:
        raise InvalidInput(
            f"This hook secret cannot be used: {problem}.",
            code="source.secret_weak",
            hint="Let the farm make one, or give at least 16 random characters.",
        )


def _text_problem(value: str) -> str:
    if len(value) < _SHORTEST:
        return f"it has {len(value)} characters and needs at least {_SHORTEST}"
    if len(set(value)) == 1:
        return "it repeats one character"
    if not (value.isascii() and value.isprintable()) or value != value.strip():
        return "it holds control or non-ASCII characters, or begins or ends with a space"
    return ""


def _signing_problem(value: str) -> str:
    if not value.startswith(SIGNING_PREFIX):
        return f"a signing token begins with {SIGNING_PREFIX}"
    try:
        key = base64.b64decode(value.removeprefix(SIGNING_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        return f"what follows {SIGNING_PREFIX} is not base64"
    if len(key) not in _KEY_BYTES:
        return f"it holds {len(key)} bytes and needs {_KEY_BYTES.start} to {_KEY_BYTES.stop - 1}"
    if len(set(key)) == 1:
        return "it repeats one byte"
    return ""
