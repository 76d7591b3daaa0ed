"""Taking a delivery in: verified on its raw bytes, noted in the ledger, turned into builds.

One transaction notes the delivery and makes what follows from it; the answer goes out before any
work is done. The same delivery again is a duplicate, the same commit by another hook builds once.
"""

from __future__ import annotations

import fnmatch
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from buildfarm import log
from buildfarm.db.engine import Database
from buildfarm.errors import InvalidInput, LimitExceeded, Unauthenticated
from buildfarm.farm import builds
from buildfarm.farm.model import Build
from buildfarm.farm.rules import FINAL, State
from buildfarm.ids import new_id
from buildfarm.scm.kinds import receiver_of, scm_for
from buildfarm.scm.model import Delivery, DeliveryEvent
from buildfarm.scm.port import Event, EventKind, Scm, Verification
from buildfarm.scm.reasons import SENTENCE, Reason
from buildfarm.scm.rules import why_ignored
from buildfarm.scm.secret import Secret
from buildfarm.sources.model import Source, SourceSecret

#: What of a refused body is kept to explain it.
_REFUSED_BODY_BYTES = 16 * 1024
_REJECTED_PER_HOUR = 200
#: Pushes to a branch among which the order is known.
_PUSHES = 100
#: Headers that carry a credential, by the SCM or by a proxy on the way; a signature is none.
_MASKED = re.compile(r"token|secret|passw|cookie|authorization|credential|api-?key", re.IGNORECASE)
_log = log.get(__name__)


@dataclass(frozen=True)
class Receipt:
    """What became of a delivery: the builds it started, and older ones that it ended."""

    delivery_id: str
    state: str
    reason: Reason | None = None
    builds: list[str] = field(default_factory=list)
    superseded: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Begun:
    """A build that an event started, and the older ones it ended."""

    build_id: str
    ref: str
    superseded: list[str]


def receive(
    database: Database, source_name: str, headers: Mapping[str, str], body: bytes, now: datetime
) -> Receipt:
    """Take one call of a source's hook.

    Raises:
        Unauthenticated: `hook.unauthenticated`, the same for an unknown source and a wrong signature.
        InvalidInput: `hook.unparsable`, signed rightly but not readable.
    """
    with database.read() as session:
        source = session.scalars(select(Source).where(Source.name == source_name)).first()
    scm = receiver_of(source) if source else scm_for("generic")
    secrets = [Secret(id=row.id, value=row.value, kind=row.kind) for row in source.secrets] if source else []  # type: ignore[arg-type]
    verification = scm.verify(headers, body, secrets, now)
    if source is None:
        raise _refused()
    if not verification.ok:
        _note_rejected(database, source, scm, headers, body, verification, now)
        raise _refused()
    try:
        events = scm.parse(headers, body)
    except InvalidInput as err:
        reason = Reason(str(err.facts.get("reason", Reason.BODY_UNPARSABLE)))
        _note_rejected(database, source, scm, headers, body, verification, now, reason)
        raise
    try:
        return _accept(database, source, scm, headers, body, verification, events, now)
    except IntegrityError:
        # The same delivery came twice at once; the other call has noted it.
        known = _duplicate(database, source, verification, body)
        if known is None:
            raise
        return known


def too_large(limit: int) -> LimitExceeded:
    """The refusal of a body over the limit; decided before it is read."""
    return LimitExceeded(f"A webhook body may have {limit} bytes.", code="hook.too_large")


def _accept(
    database: Database,
    source: Source,
    scm: Scm,
    headers: Mapping[str, str],
    body: bytes,
    verification: Verification,
    events: Sequence[Event],
    now: datetime,
) -> Receipt:
    known = _duplicate(database, source, verification, body)
    if known:
        return known
    with database.begin() as session:
        # Two hooks that announce one commit at once must see each other's build.
        builds.hold_source(session, source.id)
        delivery = _row(source, scm, headers, body, verification, now)
        first = events[0]
        delivery.kind, delivery.ref, delivery.commit = first.kind, first.ref or None, first.commit
        delivery.actor, delivery.title = first.actor, first.title[:500] or None
        session.add(delivery)
        session.flush()
        session.execute(
            update(SourceSecret).where(SourceSecret.id == verification.secret_id).values(last_used_at=now)
        )
        made = [begun for event in events if (begun := _begin(session, source, delivery, event))]
        if not made:
            reason = Reason(str(delivery.events[0].reason))
            delivery.state, delivery.reason = "ignored", reason
            return Receipt(delivery.id, "ignored", reason)
        delivery.state = "accepted"
    superseded = [build_id for one in made for build_id in one.superseded]
    for one in made:
        with log.bind(delivery_id=delivery.id, build_id=one.build_id):
            _log.info("delivery.accepted", source=source.name, ref=one.ref, superseded=one.superseded)
    return Receipt(delivery.id, "accepted", builds=[one.build_id for one in made], superseded=superseded)


def _begin(session: Session, source: Source, delivery: Delivery, event: Event) -> _Begun | None:
    """Note one event of a delivery, and start the build that it asks for; None where it asks for none."""
    noted = DeliveryEvent(
        source_id=source.id,
        position=len(delivery.events),
        kind=event.kind,
        ref=event.ref or None,
        commit=event.commit,
        before=event.before,
        title=event.title[:500] or None,
        reason=why_nothing(source, event) or _built_already(session, source, event),
    )
    delivery.events.append(noted)
    session.flush()
    if noted.reason in (Reason.REPOSITORY_RENAMED, Reason.REPOSITORY_MOVED):
        session.get_one(Source, source.id).moved_to = event.moved_to
    if noted.reason:
        return None
    build = builds.start(
        session,
        session.get_one(Source, source.id),
        ref=event.ref,
        commit=event.commit,
        trigger=f"webhook:{delivery.scm}",
        actor=event.actor,
        title=event.title or None,
        delivery_id=delivery.id,
    )
    return _Begun(build.id, event.ref, builds.supersede(session, build, _held_before(session, build)))


def _held_before(session: Session, build: Build) -> dict[str, str]:
    """What the branch of a build held before each of its last commits, as deliveries say."""
    rows: Sequence[Any] = session.execute(
        select(DeliveryEvent.commit, DeliveryEvent.before)
        .where(DeliveryEvent.source_id == build.source_id, DeliveryEvent.ref == build.ref)
        .where(DeliveryEvent.commit.is_not(None), DeliveryEvent.before.is_not(None))
        .order_by(DeliveryEvent.delivery_id.desc())
        .limit(_PUSHES)
    ).all()
    return dict(reversed(rows))


def why_nothing(source: Source, event: Event) -> Reason | None:
    """Why this event starts no build of this source, or None when it does; pure."""
    if event.kind is not EventKind.PING and not _is_about(source, event):
        return Reason.OTHER_REPOSITORY
    reason = why_ignored(event)
    if reason:
        return reason
    if not event.ref:
        return Reason.EVENT_NOT_HANDLED
    return None if follows(source, event.ref) else Reason.REF_NOT_FOLLOWED


def follows(source: Source, ref: str) -> bool:
    """Whether one of the source's patterns takes a branch or tag, by its full name."""
    is_tag = ref.startswith("refs/tags/")
    name = ref.removeprefix("refs/tags/" if is_tag else "refs/heads/")
    return any(fnmatch.fnmatchcase(name, glob) for glob in (source.tags if is_tag else source.branches))


def _is_about(source: Source, event: Event) -> bool:
    """Hooks of groups and organisations speak of all their repositories; a plain git hook knows no name."""
    if source.scm == "generic" or not event.repository:
        return True
    path = urlsplit(source.url).path.strip("/").removesuffix(".git").lower()
    return path == event.repository.lower() or path.endswith("/" + event.repository.lower())


def _built_already(session: Session, source: Source, event: Event) -> Reason | None:
    """Group and project hooks both fire, and a release follows its tag: one commit of one ref builds once."""
    same = select(Build.id).where(
        Build.source_id == source.id, Build.ref == event.ref, Build.state != State.CANCELLED
    )
    if event.commit:
        # One that ended before its commit was found out says nothing of this one.
        is_unknown = Build.commit.is_(None) & Build.state.not_in(FINAL)
        same = same.where((Build.commit == event.commit) | is_unknown)
    elif event.kind is not EventKind.RELEASE:
        return None
    return Reason.ALREADY_BUILT if session.execute(same).first() else None


def _key(verification: Verification, body: bytes) -> str | None:
    """What makes a delivery the same one: its id is not always signed, so its body counts too."""
    if verification.delivery_id is None:
        return None
    return f"{verification.delivery_id}:{hashlib.sha256(body).hexdigest()[:32]}"


def _duplicate(database: Database, source: Source, verification: Verification, body: bytes) -> Receipt | None:
    key = _key(verification, body)
    with database.read() as session:
        known = session.scalars(
            select(Delivery).where(Delivery.source_id == source.id, Delivery.key == key)
        ).first()
        if known is None or key is None:
            return None
        made = list(session.scalars(select(Build.id).where(Build.delivery_id == known.id)))
    return Receipt(known.id, "duplicate", Reason(known.reason) if known.reason else None, made)


def _note_rejected(
    database: Database,
    source: Source,
    scm: Scm,
    headers: Mapping[str, str],
    body: bytes,
    verification: Verification,
    now: datetime,
    reason: Reason | None = None,
) -> None:
    delivery = _row(source, scm, headers, body[:_REFUSED_BODY_BYTES], verification, now)
    # A refused call must not occupy the id under which the true one may still come.
    delivery.key = None
    delivery.state, delivery.reason = "rejected", reason or verification.reason
    delivery.body_sha256 = hashlib.sha256(body).hexdigest()
    with database.begin() as session:
        recent = select(func.count()).where(
            Delivery.source_id == source.id,
            Delivery.state == "rejected",
            Delivery.received_at > now - timedelta(hours=1),
        )
        # Whoever cannot sign must not be able to fill the disk either.
        if session.execute(recent).scalar_one() < _REJECTED_PER_HOUR:
            session.add(delivery)
    _log.warning("delivery.rejected", source=source.name, reason=delivery.reason, delivery_id=delivery.id)


def _row(
    source: Source,
    scm: Scm,
    headers: Mapping[str, str],
    body: bytes,
    verification: Verification,
    now: datetime,
) -> Delivery:
    shown = {name: "[masked]" if _MASKED.search(name) else value for name, value in headers.items()}
    return Delivery(
        id=new_id("dlv"),
        source_id=source.id,
        key=_key(verification, body),
        scm=scm.kind,
        received_at=now,
        state="received",
        headers=shown,
        body=body,
        body_sha256=hashlib.sha256(body).hexdigest(),
        events=[],
        steps=[{"name": step.name, "ok": step.ok, "detail": step.detail} for step in verification.steps],
    )


def _refused() -> Unauthenticated:
    return Unauthenticated("This delivery is not signed as it should be.", code="hook.unauthenticated")


def sentence(reason: str | None) -> str:
    """A reason in words."""
    return SENTENCE[Reason(reason)] if reason else ""
