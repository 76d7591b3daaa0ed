"""What people see of deliveries: the ledger, each with why it started nothing and what to do about it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import ColumnElement, Select, func, select
from sqlalchemy.orm import Session, aliased, defer

from buildfarm.db import keyset
from buildfarm.errors import NotFound
from buildfarm.farm.show import BuildRow, list_builds
from buildfarm.ids import first_id
from buildfarm.scm.model import Delivery, DeliveryEvent
from buildfarm.scm.port import EventKind
from buildfarm.scm.reasons import REMEDY, SENTENCE, Reason
from buildfarm.sources.model import Source

#: Bytes of a body that a page shows; the rest is one download away.
BODY_SHOWN = 256 * 1024
_BUILDS_SHOWN = 50
_WORDS_MAX = 8
#: How a time is written in a search, and how long that is.
_MOMENTS = {
    "%Y-%m-%d": timedelta(days=1),
    "%Y-%m-%dT%H": timedelta(hours=1),
    "%Y-%m-%dT%H:%M": timedelta(minutes=1),
}


@dataclass(frozen=True)
class DeliveryRow:
    """A delivery as lists show it; `sentence` says why nothing was built, empty when something was.

    `connection` is the one by whose hook it came, null for the source's own.
    """

    id: str
    source: str
    connection: str | None
    scm: str
    received_at: datetime
    state: str
    reason: str | None
    sentence: str
    kind: str | None
    ref: str | None
    commit: str | None
    actor: str | None
    title: str | None


@dataclass(frozen=True)
class StepRow:
    """One check of the verdict."""

    name: str
    ok: bool
    detail: str


@dataclass(frozen=True)
class EventRow:
    """One thing that a delivery announces; `sentence` says why it started nothing, empty when it did."""

    kind: str
    ref: str | None
    commit: str | None
    before: str | None
    title: str | None
    reason: str | None
    sentence: str


@dataclass(frozen=True)
class Told:
    """What a delivery said of a ref or commit: why it started nothing, None when it did.

    `is_swept` says that the sweep found it and no delivery came.
    """

    delivery_id: str
    received_at: datetime
    reason: Reason | None
    is_swept: bool


@dataclass(frozen=True)
class DeliveryDetail(DeliveryRow):
    """A delivery with what came and what was made of it; `remedy` says what to do next.

    `body` is text, cut at `BODY_SHOWN` bytes; `body_bytes` is the size of what is kept, None where no body is
    (any more). Of a refused call only the beginning may be, for strangers can send any: `is_body_cut`;
    `body_sha256` is of the whole then, too.
    """

    key: str | None
    remedy: str
    headers: dict[str, str]
    steps: tuple[StepRow, ...]
    events: tuple[EventRow, ...]
    body: str
    body_bytes: int | None
    body_sha256: str
    is_body_cut: bool
    builds: tuple[BuildRow, ...]


def list_deliveries(
    session: Session,
    *,
    source: str | None = None,
    state: str | None = None,
    search: str | None = None,
    before: str | None = None,
    limit: int = 50,
) -> tuple[list[DeliveryRow], str | None]:
    """Deliveries, the newest first, and the id to ask on with as `before` (None on the last page).

    `search` is words that must all be in a delivery's id, ref, commit, actor, title, kind or reason,
    whatever their case; one such as `2026-11-29`, `2026-11-29T14` or `2026-11-29T14:05` is the day, hour or
    minute (UTC) it came in.
    """
    ids = select(Delivery.id)
    if source:
        named = select(Source.id).where(Source.name == source).scalar_subquery()
        ids = ids.where(Delivery.source_id == named)
    if state:
        ids = ids.where(Delivery.state == state)
    if before:
        ids = ids.where(Delivery.id < before)
    for word in (search or "").split()[:_WORDS_MAX]:
        ids = ids.where(*_matching(word))
    ids = ids.order_by(Delivery.id.desc()).limit(limit + 1)
    query = _deliveries().where(Delivery.id.in_(ids))
    found = session.execute(query.order_by(Delivery.id.desc())).all()
    rows = [_row(row.Delivery, row.name, row.connection) for row in found]
    return keyset.cut(rows, limit, lambda row: row.id)


def latest_deliveries(session: Session, source_ids: Iterable[str]) -> dict[str, DeliveryRow]:
    """The last delivery of each source that had one, by the source's id."""
    newest = (
        select(func.max(Delivery.id))
        .where(Delivery.source_id.in_(list(source_ids)))
        .group_by(Delivery.source_id)
    )
    found = session.execute(_deliveries().where(Delivery.id.in_(newest)))
    return {row.Delivery.source_id: _row(row.Delivery, row.name, row.connection) for row in found}


def latest_about(session: Session, source_id: str, ref: str, commit: str) -> Told | None:
    """The last thing told of a ref, or of a commit that begins so when `ref` is empty."""
    begins_so = (DeliveryEvent.commit >= commit) & (DeliveryEvent.commit < f"{commit}g")
    # Where a pull request has no ref but its branch's, it says nothing of the branch.
    of_ref = (DeliveryEvent.ref == ref) & (DeliveryEvent.kind != EventKind.PULL_REQUEST)
    row = session.execute(
        select(Delivery.id, Delivery.received_at, DeliveryEvent.reason, Delivery.reason.label("found"))
        .join(DeliveryEvent, DeliveryEvent.delivery_id == Delivery.id)
        .where(DeliveryEvent.source_id == source_id, of_ref if ref else begins_so)
        .where(DeliveryEvent.reason.is_distinct_from(Reason.PULL_REQUEST_REPEATED))
        .order_by(DeliveryEvent.delivery_id.desc())
        .limit(1)
    ).first()
    if row is None:
        return None
    reason = Reason(row.reason) if row.reason else None
    return Told(row.id, row.received_at, reason, is_swept=row.found == Reason.FOUND_BY_SWEEP)


def delivery_detail(session: Session, delivery_id: str) -> DeliveryDetail:
    """One delivery.

    Raises:
        NotFound: `delivery.unknown`.
    """
    row = session.execute(_deliveries().where(Delivery.id == delivery_id)).first()
    if row is None:
        raise NotFound(f"There is no delivery {delivery_id}.", code="delivery.unknown")
    delivery: Delivery = row.Delivery
    builds, _ = list_builds(session, delivery_id=delivery_id, limit=_BUILDS_SHOWN)
    short = _row(delivery, row.name, row.connection)
    return DeliveryDetail(
        **vars(short),
        key=delivery.key,
        remedy=_words(REMEDY, delivery.reason),
        headers=_headers(delivery, session.get_one(Source, delivery.source_id)),
        steps=tuple(StepRow(step["name"], step["ok"], step["detail"]) for step in delivery.steps),
        events=tuple(
            EventRow(
                kind=event.kind,
                ref=event.ref,
                commit=event.commit,
                before=event.before,
                title=event.title,
                reason=event.reason,
                sentence=_words(SENTENCE, event.reason),
            )
            for event in delivery.events
        ),
        body=(delivery.body or b"")[:BODY_SHOWN].decode("utf-8", "replace"),
        body_bytes=None if delivery.body is None else len(delivery.body),
        body_sha256=delivery.body_sha256,
        is_body_cut=_is_cut(delivery),
        builds=tuple(builds),
    )


def _is_cut(delivery: Delivery) -> bool:
    """Whether the kept body is only the beginning of what came; of what was taken the whole is kept."""
    if delivery.state != "rejected" or delivery.body is None:
        return False
    return hashlib.sha256(delivery.body).hexdigest() != delivery.body_sha256


def _headers(delivery: Delivery, source: Source) -> dict[str, str]:
    """The headers without signatures.

    Most SCMs sign neither the id of a delivery nor the time: who may only look could send its body again.
    """
    of_source = (source.scm_settings or {}).get("signature") or {}
    own = str(of_source.get("header", "")).lower()
    return {
        name: "[not shown]" if "signature" in name.lower() or name.lower() == own else str(value)
        for name, value in delivery.headers.items()
    }


def _deliveries() -> Select[Delivery, str, str | None]:
    by = aliased(Source)
    rows = (
        select(Delivery, Source.name, by.name.label("connection"))
        .join(Source, Source.id == Delivery.source_id)
        .outerjoin(by, by.id == Delivery.connection_id)
    )
    return rows.options(defer(Delivery.body))  # it may have megabytes


def _matching(word: str) -> list[ColumnElement[bool]]:
    """What one word of a search asks for."""
    for form, length in _MOMENTS.items():
        try:
            begin = datetime.strptime(word, form).replace(tzinfo=UTC)
        except ValueError:
            continue
        return [Delivery.id >= first_id("dlv", begin), Delivery.id < first_id("dlv", begin + length)]
    escaped = word.replace("/", "//").replace("%", "/%").replace("_", "/_")
    return [Delivery.words.contains(escaped.lower(), escape="/")]


def _row(delivery: Delivery, source: str, connection: str | None) -> DeliveryRow:
    return DeliveryRow(
        id=delivery.id,
        source=source,
        connection=connection,
        scm=delivery.scm,
        received_at=delivery.received_at,
        state=delivery.state,
        reason=delivery.reason,
        sentence=_words(SENTENCE, delivery.reason),
        kind=delivery.kind,
        ref=delivery.ref,
        commit=delivery.commit,
        actor=delivery.actor,
        title=delivery.title,
    )


def _words(words: Mapping[Reason, str], reason: str | None) -> str:
    return next((text for known, text in words.items() if known == reason), "")
