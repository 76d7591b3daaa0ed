"""What people see of sources; secrets never, only that they live and when they were last used."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from buildfarm.errors import NotFound
from buildfarm.sources.model import Source, SourceCredential

#: A removed source is renamed to NAME~ID: its history stays, its name is free again.
REMOVED = "~"


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
    live = select(Source).where(Source.name.not_like(f"%{REMOVED}%")).order_by(Source.name)
    return [source_row(source) for source in session.scalars(live)]


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
    source = session.execute(select(Source).where(Source.name == name)).scalar_one_or_none()
    if source is None or REMOVED in name:
        raise NotFound(
            f"There is no source {name}.", code="source.unknown", hint="`source list` shows them all."
        )
    return source


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
