"""What people see of sources; secrets never, only that they live and when they were last used."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from buildfarm.errors import NotFound
from buildfarm.sources.model import OWNER, REPOSITORY, Source, SourceCredential
from buildfarm.sources.names import REMOVED


@dataclass(frozen=True)
class SecretRow:
    """A live secret of a source's hook, without its value."""

    id: str
    kind: str
    created_at: datetime
    last_used_at: datetime | None


@dataclass(frozen=True)
class CredentialRow:
    """That a source has a credential, never its value; `kind` is password, ssh-key or ca.

    `known_hosts` and `ca` say whether it has such of its own.
    """

    kind: str
    username: str
    known_hosts: bool
    ca: bool
    created_at: datetime
    last_used_at: datetime | None


@dataclass(frozen=True)
class SourceRow:
    """A source as lists and its own page show it."""

    id: str
    name: str
    scm: str
    url: str
    projects: tuple[str, ...]
    branches: tuple[str, ...]
    tags: tuple[str, ...]
    paths: tuple[str, ...]
    pull_requests: str
    scm_settings: dict[str, Any] | None
    moved_to: str | None
    tier: str
    reads: tuple[str, ...]
    recipe: str | None
    jobs_max: int | None
    created_at: datetime
    secrets: tuple[SecretRow, ...]
    credential: CredentialRow | None


def list_sources(session: Session) -> list[SourceRow]:
    """Every source that is listened to, by name.

    Their last builds come from `farm.show.latest_builds`, their last deliveries from
    `scm.show.latest_deliveries`: both are above this room.
    """
    return [source_row(source) for source in session.scalars(live(REPOSITORY))]


def list_connections(session: Session) -> list[SourceRow]:
    """Every owner whose repositories are listened to, by name."""
    return [source_row(source) for source in session.scalars(live(OWNER))]


def source_detail(session: Session, name: str) -> SourceRow:
    """One source.

    Raises:
        NotFound: `source.unknown`.
    """
    return source_row(get(session, name))


def get(session: Session, name: str) -> Source:
    """The row of one source that was not removed.

    Raises:
        NotFound: `source.unknown`.
    """
    source = session.scalars(live(REPOSITORY).where(Source.name == name)).one_or_none()
    if source is None:
        raise NotFound(
            f"There is no source {name}.", code="source.unknown", hint="`source list` shows them all."
        )
    return source


def get_connection(session: Session, name: str) -> Source:
    """The row of one connection that was not removed.

    Raises:
        NotFound: `connection.unknown`.
    """
    found = session.scalars(live(OWNER).where(Source.name == name)).one_or_none()
    if found is None:
        hint = "`connection list` shows them all."
        raise NotFound(f"There is no connection {name}.", code="connection.unknown", hint=hint)
    return found


def is_connection(session: Session, name: str) -> bool:
    """Whether a connection, and no source, has the name."""
    return session.scalars(live(OWNER).where(Source.name == name)).first() is not None


def get_any(session: Session, name: str) -> Source:
    """The row of a source or connection: what has a hook, its secrets, a credential and a token.

    Raises:
        NotFound: `source.unknown`.
    """
    return (get_connection if is_connection(session, name) else get)(session, name)


def live(scope: str) -> Select[Source]:
    """The rows of one scope that were not removed, by name."""
    not_removed = Source.name.not_like(f"%{REMOVED}%")
    return select(Source).where(not_removed, Source.scope == scope).order_by(Source.name)


def source_row(source: Source) -> SourceRow:
    """The read model of a row."""
    return SourceRow(
        id=source.id,
        name=source.name,
        scm=source.scm,
        url=source.url,
        projects=tuple(source.projects),
        branches=tuple(source.branches),
        tags=tuple(source.tags),
        paths=tuple(source.paths),
        pull_requests=source.pull_requests,
        scm_settings=source.scm_settings,
        moved_to=source.moved_to,
        tier=source.tier,
        reads=tuple(source.reads),
        recipe=source.recipe,
        jobs_max=source.jobs_max,
        created_at=source.created_at,
        secrets=tuple(
            SecretRow(one.id, one.kind, one.created_at, one.last_used_at) for one in source.secrets
        ),
        credential=_credential_row(source.credential) if source.credential else None,
    )


def _credential_row(row: SourceCredential) -> CredentialRow:
    return CredentialRow(
        kind=row.kind,
        username=row.username,
        known_hosts=bool(row.known_hosts),
        ca=bool(row.ca),
        created_at=row.created_at,
        last_used_at=row.last_used_at,
    )
