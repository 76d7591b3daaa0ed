"""What people see of users and tokens; values, digests and hashes never."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from buildfarm.access.model import Token, User


@dataclass(frozen=True)
class TokenRow:
    """A token without its value."""

    id: str
    name: str
    scopes: tuple[str, ...]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None


@dataclass(frozen=True)
class UserRow:
    """A local person."""

    id: str
    name: str
    is_admin: bool
    created_at: datetime
    disabled_at: datetime | None


def list_tokens(session: Session, *, revoked: bool = False, user_id: str | None = None) -> list[TokenRow]:
    """Tokens, the newest first; those of one person, and the revoked ones, only when asked for."""
    query = select(Token).order_by(Token.id.desc())
    if user_id:
        query = query.where(Token.user_id == user_id)
    if not revoked:
        query = query.where(Token.revoked_at.is_(None))
    return [token_row(token) for token in session.scalars(query)]


def list_users(session: Session) -> list[UserRow]:
    """Local people, by name."""
    return [user_row(user) for user in session.scalars(select(User).order_by(User.name))]


def token_row(token: Token) -> TokenRow:
    """The read model of a row."""
    return TokenRow(
        id=token.id,
        name=token.name,
        scopes=tuple(token.scopes),
        created_at=token.created_at,
        expires_at=token.expires_at,
        last_used_at=token.last_used_at,
        revoked_at=token.revoked_at,
    )


def user_row(user: User) -> UserRow:
    """The read model of a row."""
    return UserRow(user.id, user.name, user.is_admin, user.created_at, user.disabled_at)
