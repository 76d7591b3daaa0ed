"""Local people: passwords (argon2id), log-in, browser sessions kept on the server."""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerifyMismatchError
from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from buildfarm import clock
from buildfarm.access.model import User, WebSession
from buildfarm.access.rules import Principal
from buildfarm.access.tokens import digest_of
from buildfarm.errors import Conflict, InvalidInput, Unauthenticated
from buildfarm.ids import new_id
from buildfarm.journal.record import record

SESSION_HOURS = 12
_HASHER = PasswordHasher()
#: Verified against when the name is unknown, so that both cases take the same time.
#: That of random bytes; written down because to make one costs every start as much as a log-in.
_NOBODY = "$argon2id$v=19$m=65536,t=3,p=4$0GRLysQxfqTkw3dRiFe1Bg$kB0ezgoqfVm5X0T7h88kvHTzarBLXoM2ufSuFVHxmrc"


def add_user(session: Session, name: str, password: str, *, is_admin: bool, actor: str) -> User:
    """Make a local person.

    Raises:
        InvalidInput: `user.password_short`, fewer than 10 characters.
        Conflict: `user.exists`.
    """
    if len(password) < 10:
        raise InvalidInput("A password needs 10 characters or more.", code="user.password_short")
    if session.execute(select(User.id).where(User.name == name)).first():
        raise Conflict(f"There is a user {name!r} already.", code="user.exists")
    user = User(
        id=new_id("usr"),
        name=name,
        password_hash=_HASHER.hash(password),
        is_admin=is_admin,
        created_at=clock.now(),
    )
    session.add(user)
    record(session, "user.create", user=user.id, is_admin=is_admin, actor=actor)
    return user


def check_password(session: Session, name: str, password: str) -> Principal:
    """Who this is.

    Raises:
        Unauthenticated: `access.wrong_password`, the same for unknown, disabled and wrong.
    """
    user = session.execute(select(User).where(User.name == name)).scalar_one_or_none()
    known = user is not None and user.disabled_at is None
    try:
        _HASHER.verify(user.password_hash if user and known else _NOBODY, password)
    except (VerifyMismatchError, InvalidHashError):
        known = False
    if not user or not known:
        raise Unauthenticated("That name and password do not go together.", code="access.wrong_password")
    return principal_of_user(user)


def principal_of_user(user: User) -> Principal:
    """What a person may do: administrators everything, others look and install."""
    scopes = frozenset({"admin"}) if user.is_admin else frozenset({"view", "read:*"})
    return Principal(user.id, user.name, scopes, frozenset({f"user:{user.name}"}))


def open_session(session: Session, principal: Principal) -> str:
    """Start a browser session; returns the cookie's value."""
    value = secrets.token_urlsafe(32)
    now = clock.now()
    session.execute(delete(WebSession).where(WebSession.expires_at < now))
    session.add(
        WebSession(
            digest=digest_of(value),
            user_id=principal.id,
            csrf=secrets.token_urlsafe(24),
            created_at=now,
            expires_at=now + timedelta(hours=SESSION_HOURS),
        )
    )
    return value


def session_of(session: Session, value: str, now: datetime) -> tuple[Principal, str] | None:
    """The principal and form token of a browser session, or None when it ended."""
    row = session.execute(
        select(WebSession, User)
        .join(User, User.id == WebSession.user_id)
        .where(WebSession.digest == digest_of(value), WebSession.expires_at > now, User.disabled_at.is_(None))
    ).first()
    return None if row is None else (principal_of_user(row.User), row.WebSession.csrf)


def close_session(session: Session, value: str) -> None:
    """End a browser session."""
    session.execute(delete(WebSession).where(WebSession.digest == digest_of(value)))
