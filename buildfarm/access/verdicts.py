"""Verdicts: may this Authorization header read this channel? Remembered briefly under a keyed digest.

The key lives in this process alone and the header itself is never kept, so a memory dump of the
cache is no list of credentials. While the database is away, a known allow goes on for a while.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from buildfarm import clock
from buildfarm.access import tokens, users
from buildfarm.access.rules import ANONYMOUS, Principal
from buildfarm.db.engine import Database
from buildfarm.errors import ExternalFailure, Unauthenticated

#: A front keeps what it heard for 3 s more: whoever is shut out is out after 5 s.
FRESH_S = 2.0
STALE_S = 900.0
_ENTRIES = 20_000
_REFUSED_ENTRIES = 2_000


@dataclass(frozen=True)
class _Remembered:
    principal: Principal
    at: float


class Verdicts:
    """Who sent a request, and what it may read, without asking the database each time."""

    def __init__(self, database: Database, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._monotonic = monotonic
        self._key = secrets.token_bytes(32)
        self._known: dict[bytes, _Remembered] = {}
        self._refused: dict[bytes, float] = {}
        self._lock = threading.Lock()
        self._used: dict[str, datetime] = {}

    def principal(self, authorization: str | None) -> Principal:
        """The principal of an `Authorization` header; anonymous without one.

        Raises:
            Unauthenticated: the credential is not one of ours.
            ExternalFailure: it is not known here and the database is away.
        """
        if not authorization:
            return ANONYMOUS
        key = hashlib.blake2b(
            authorization.encode("utf-8", "replace"), key=self._key, digest_size=16
        ).digest()
        now = self._monotonic()
        known = self._known.get(key)
        if known and now - known.at < FRESH_S:
            return known.principal
        if now - self._refused.get(key, -FRESH_S) < FRESH_S:
            raise Unauthenticated("This credential was refused just now.", code="access.refused")
        try:
            principal = self._look_up(authorization)
        except ExternalFailure:
            if known and now - known.at < STALE_S:
                return known.principal
            raise
        except Unauthenticated:
            with self._lock:
                self._known.pop(key, None)
                # A place of their own: whoever guesses must not push out what is known to be good.
                if len(self._refused) >= _REFUSED_ENTRIES:
                    self._refused.clear()
                self._refused[key] = now
            raise
        with self._lock:
            if len(self._known) >= _ENTRIES:
                self._known.clear()
            self._known[key] = _Remembered(principal, now)
        return principal

    def take_used(self) -> dict[str, datetime]:
        """When each token was looked up last since this was asked before, by the token's id."""
        with self._lock:
            taken, self._used = self._used, {}
        return taken

    def _look_up(self, authorization: str) -> Principal:
        name, secret = credential_of(authorization)
        if tokens.looks_like_token(secret) and not tokens.is_token(secret):
            raise Unauthenticated("This token is mistyped or cut off.", code="access.token")
        with self._database.read() as session:
            if tokens.is_token(secret):
                principal = tokens.principal_of(session, secret, clock.now())
                if principal is None:
                    raise Unauthenticated("This token is not known, expired or revoked.", code="access.token")
                with self._lock:
                    self._used[str(principal.id)] = clock.now()
                return principal
            if not name or not secret:
                raise Unauthenticated(
                    "A name and a password, or a token, are needed.", code="access.incomplete"
                )
            return users.check_password(session, name, secret)


def credential_of(authorization: str) -> tuple[str, str]:
    """Name and secret of a Basic or Bearer header (RFC 7617, RFC 6750); a Bearer has no name.

    Raises:
        Unauthenticated: `access.header`, neither of them, or not decodable.
    """
    scheme, _, value = authorization.strip().partition(" ")
    if scheme.lower() == "bearer" and value:
        return "", value.strip()
    if scheme.lower() == "basic":
        try:
            name, colon, secret = base64.b64decode(value.strip(), validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            colon = ""
        if colon:
            return name, secret
    raise Unauthenticated("The Authorization header is neither Basic nor Bearer.", code="access.header")
