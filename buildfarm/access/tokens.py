"""Tokens: `bft_`, 32 random characters, 6 of checksum; never need escaping in a URL or a header.

The checksum lets a mistyped token be refused before any look-up and lets secret scanners be sure.
"""

from __future__ import annotations

import hashlib
import secrets
import string
import zlib
from datetime import datetime, timedelta

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from buildfarm import clock
from buildfarm.access.model import Token, User
from buildfarm.access.rules import Principal, parse_scopes
from buildfarm.errors import NotFound
from buildfarm.ids import new_id
from buildfarm.journal.record import record

_ALPHABET = string.digits + string.ascii_letters
_PREFIX = "bft_"
_RANDOM, _CHECK = 32, 6


def new_token() -> str:
    """A fresh token value of 190 random bits."""
    body = "".join(secrets.choice(_ALPHABET) for _ in range(_RANDOM))
    return _PREFIX + body + _checksum(body)


def is_token(value: str) -> bool:
    """Whether the value has the form and checksum of a token of ours."""
    body, check = value[len(_PREFIX) : -_CHECK], value[-_CHECK:]
    return value.startswith(_PREFIX) and len(body) == _RANDOM and value.isascii() and _checksum(body) == check


def looks_like_token(value: str) -> bool:
    """Whether somebody meant a token of ours, though it may be mistyped or cut off."""
    return value.startswith(_PREFIX)


def digest_of(value: str) -> str:
    """How a token is stored: it carries enough random bits that a plain digest suffices."""
    return hashlib.sha256(value.encode()).hexdigest()


def create(
    session: Session,
    name: str,
    scopes: list[str],
    *,
    actor: str,
    days: int | None = 90,
    user_id: str | None = None,
) -> tuple[Token, str]:
    """Make a token; returns the row and the value, which is shown once and never stored.

    Raises:
        InvalidInput: `access.scope`.
    """
    value = new_token()
    now = clock.now()
    token = Token(
        id=new_id("tok"),
        name=name,
        digest=digest_of(value),
        user_id=user_id,
        scopes=sorted(parse_scopes(scopes)),
        created_at=now,
        expires_at=None if days is None else now + timedelta(days=days),
    )
    session.add(token)
    record(session, "token.create", token=token.id, name=name, scopes=token.scopes, actor=actor)
    return token, value


def revoke(session: Session, token_id: str, *, actor: str) -> None:
    """End a token at once.

    Raises:
        NotFound: `token.unknown`.
    """
    done = session.execute(
        update(Token)
        .where(Token.id == token_id, Token.revoked_at.is_(None))
        .values(revoked_at=clock.now())
        .returning(Token.id)
    ).scalar_one_or_none()
    if done is None:
        raise NotFound(f"There is no live token {token_id}.", code="token.unknown")
    record(session, "token.revoke", token=token_id, actor=actor)


def note_used(session: Session, used: dict[str, datetime]) -> None:
    """Keep when tokens were used, by id; what is not later than what is kept changes nothing."""
    for token_id, at in used.items():
        later = Token.last_used_at.is_(None) | (Token.last_used_at < at)
        session.execute(update(Token).where(Token.id == token_id, later).values(last_used_at=at))


def principal_of(session: Session, value: str, now: datetime) -> Principal | None:
    """Whose token this is, or None when it is unknown, expired or revoked, or its person disabled."""
    if not is_token(value):
        return None
    both = select(Token, User).outerjoin(User, User.id == Token.user_id)
    row = session.execute(both.where(Token.digest == digest_of(value))).first()
    if row is None:
        return None
    token, user = row
    if token.revoked_at or (user and user.disabled_at) or (token.expires_at and token.expires_at <= now):
        return None
    subjects = {f"token:{token.id}"} | ({f"user:{user.name}"} if user else set())
    return Principal(token.id, token.name, frozenset(token.scopes), frozenset(subjects))


def _checksum(body: str) -> str:
    value, digits = zlib.crc32(body.encode()), []
    for _ in range(_CHECK):
        value, rest = divmod(value, len(_ALPHABET))
        digits.append(_ALPHABET[rest])
    return "".join(reversed(digits))
