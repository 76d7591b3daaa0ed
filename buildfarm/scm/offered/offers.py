"""What becomes of repositories that connections tell of: noted, listed, accepted as sources, dismissed."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, select
from sqlalchemy.orm import Session, undefer

from buildfarm import clock
from buildfarm.db import keyset
from buildfarm.errors import Conflict, NotFound
from buildfarm.farm.builds import OFFER, add_task
from buildfarm.farm.model import Task
from buildfarm.farm.rules import FINAL
from buildfarm.ids import new_id
from buildfarm.scm import connect, connections
from buildfarm.scm.forges import access
from buildfarm.scm.forges.access import Given
from buildfarm.scm.forges.model import ForgeAccess
from buildfarm.scm.offered.model import OfferedRepository
from buildfarm.scm.port import Event
from buildfarm.scm.rules import follows
from buildfarm.sources.credentials import set_credential, take_credential
from buildfarm.sources.model import Source

#: What asks somebody for an answer.
OPEN = ("offered",)


@dataclass(frozen=True)
class OfferRow:
    """A repository that a connection told of; `suggested` is the name that its source would have."""

    id: str
    connection: str
    path: str
    url: str
    ref: str
    state: str
    recipes: tuple[str, ...]
    problem: str | None
    suggested: str
    told_at: datetime
    looked_at: datetime | None


def note(session: Session, connection: Source, event: Event) -> None:
    """A repository that is no source was pushed to: have it looked at, unless somebody has dismissed it."""
    url = connections.repository_url(session, connection, event)
    if url is None:
        return
    mine = select(OfferedRepository).where(
        OfferedRepository.connection_id == connection.id, OfferedRepository.url == url
    )
    row = session.scalars(mine).first()
    if row is not None and row.state in {"dismissed", "offered"}:
        row.told_at = clock.now()
        if follows(connection, event.ref):  # its patterns will be the source's
            row.ref = event.ref
        return
    if row is None:
        row = OfferedRepository(id=new_id("ofr"), connection_id=connection.id, url=url)
        session.add(row)
    row.path, row.ref, row.state = event.repository, event.ref, "waiting"
    row.recipes, row.problem, row.told_at = [], None, clock.now()
    session.flush()
    task = (Task.kind == OFFER) & (Task.subject == row.id)
    session.execute(delete(Task).where(task, Task.state.in_(FINAL)))
    if session.execute(select(Task.id).where(task)).first() is None:
        add_task(session, OFFER, row.id)


def list_offers(
    session: Session,
    *,
    states: Collection[str] = OPEN,
    connection: str | None = None,
    url: str | None = None,
    before: str | None = None,
    limit: int = 50,
) -> tuple[list[OfferRow], str | None]:
    """Repositories, the last pushed first, and the id to ask on with as `before` (None on the last page).

    Those that are in one of the states, or in any where none is named; of a connection by its name; at a URL.
    """
    told, mine = OfferedRepository.told_at, OfferedRepository.id
    query = select(OfferedRepository, Source.name).join(Source, Source.id == OfferedRepository.connection_id)
    if states:
        query = query.where(OfferedRepository.state.in_(states))
    if connection:
        query = query.where(Source.name == connection)
    if url:
        query = query.where(OfferedRepository.url == url)
    if before:
        last = select(told).where(mine == before).scalar_subquery()
        query = query.where((told < last) | ((told == last) & (mine < before)))
    found = session.execute(query.order_by(told.desc(), mine.desc()).limit(limit + 1))
    return keyset.cut([_row(one, name) for one, name in found], limit, lambda row: row.id)


def accept(
    session: Session, offer_id: str, *, name: str | None, allow_file: bool, actor: str
) -> tuple[Source, str]:
    """Listen to the repository: its source, with what the connection was given, and the ref that was pushed.

    Granting projects is the index's business, as for `connect.add_source`; after it `begin` builds the ref.

    Raises:
        NotFound: `offer.unknown`.
        Conflict: `offer.accepted`; `source.exists`: another name is needed.
        InvalidInput: as `connect.add_source`.
    """
    offer = _get(session, offer_id)
    connection = session.get_one(Source, offer.connection_id)
    if offer.state == "accepted":
        raise Conflict(f"{offer.path} is a source already.", code="offer.accepted")
    source, _ = connect.add_source(
        session, name or suggested(offer.path), offer.url, scm=connection.scm, branches=connection.branches,
        tags=connection.tags, tier=connection.tier, allow_file=allow_file, actor=actor,
    )  # fmt: skip
    if (credential := take_credential(session, connection.id)) is not None:
        set_credential(session, source, credential, actor=actor)
    given = session.get(
        ForgeAccess, connection.id, options=(undefer(ForgeAccess.token),), populate_existing=True
    )
    if given is not None:
        as_given = Given(given.token, given.api_url, given.app_id, given.ca)
        access.set_access(session, source, as_given, actor=actor)
    offer.state = "accepted"
    return source, offer.ref


def dismiss(session: Session, offer_id: str) -> OfferRow:
    """Offer it no more, whatever is pushed to it; accepting it by hand stays possible.

    Raises:
        NotFound: `offer.unknown`.
        Conflict: `offer.accepted`.
    """
    offer = _get(session, offer_id)
    if offer.state == "accepted":
        raise Conflict(f"{offer.path} is a source already.", code="offer.accepted")
    offer.state = "dismissed"
    return _row(offer, session.get_one(Source, offer.connection_id).name)


def forget(session: Session, connection: Source) -> None:
    """Nothing of the connection is offered any more: it ends."""
    mine = select(OfferedRepository.id).where(OfferedRepository.connection_id == connection.id)
    session.execute(delete(Task).where(Task.kind == OFFER, Task.subject.in_(mine), Task.state.in_(FINAL)))
    session.execute(delete(OfferedRepository).where(OfferedRepository.connection_id == connection.id))


def suggested(path: str) -> str:
    """A source's name for a repository: the last part of its path, as a hook URL takes it."""
    last = re.sub(r"[^a-z0-9]+", "-", path.rpartition("/")[2].lower()).strip("-")
    return last[:63].rstrip("-") or "repository"


def _get(session: Session, offer_id: str) -> OfferedRepository:
    offer = session.get(OfferedRepository, offer_id, with_for_update=True)
    if offer is None:
        raise NotFound(f"No such repository is offered: {offer_id}.", code="offer.unknown")
    return offer


def _row(offer: OfferedRepository, connection: str) -> OfferRow:
    return OfferRow(
        id=offer.id,
        connection=connection,
        path=offer.path,
        url=offer.url,
        ref=offer.ref,
        state=offer.state,
        recipes=tuple(offer.recipes),
        problem=offer.problem,
        suggested=suggested(offer.path),
        told_at=offer.told_at,
        looked_at=offer.looked_at,
    )
