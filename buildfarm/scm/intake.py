"""Taking a delivery in: verified on its raw bytes, noted in the ledger, turned into builds.

One transaction notes the delivery and makes what follows from it; the answer goes out before any
work is done. The same delivery again is a duplicate, the same commit by another hook builds once.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import bindparam, func, select, update
from sqlalchemy.orm import Session, joinedload, raiseload

from buildfarm import log
from buildfarm.db import direct
from buildfarm.db.engine import Database
from buildfarm.errors import InvalidInput, LimitExceeded, Unauthenticated
from buildfarm.farm import builds, handover
from buildfarm.farm.handover import Waiting
from buildfarm.farm.model import Build
from buildfarm.farm.rules import FINAL, State
from buildfarm.ids import first_id, new_id
from buildfarm.scm import connections, pulls
from buildfarm.scm.kinds import receiver_of, scm_for
from buildfarm.scm.model import MAY_BE_OF_REQUEST, Delivery, DeliveryEvent
from buildfarm.scm.offered import offers
from buildfarm.scm.port import Event, EventKind, Scm, Verification
from buildfarm.scm.pulls import Taken
from buildfarm.scm.reasons import SENTENCE, Reason
from buildfarm.scm.rules import why_nothing
from buildfarm.scm.secret import Secret
from buildfarm.scm.wire import signed_part
from buildfarm.sources.model import OWNER, PullRequest, Source, SourceSecret

#: What of a refused body is kept to explain it.
_REFUSED_BODY_BYTES = 16 * 1024
_REJECTED_PER_HOUR = 200
#: Pushes to a branch among which the order is known.
_PUSHES = 100
#: How exactly it is told when a secret was last used.
_USE_TOLD_EVERY = timedelta(minutes=1)
#: Headers that carry a credential, by the SCM or by a proxy on the way; a signature is none.
_MASKED = re.compile(r"token|secret|passw|cookie|authorization|credential|api-?key", re.IGNORECASE)
# Made once: putting a query together takes as long as running it, and each delivery runs all of these.
_NAMED = (
    select(Source)
    .where(Source.name == bindparam("name"))
    .options(joinedload(Source.secrets), raiseload(Source.credential))
)
_SAME_DELIVERY = select(Delivery.id, Delivery.reason).where(
    Delivery.source_id == bindparam("source"), Delivery.key == bindparam("key")
)
_SAME_REF = select(Build.id).where(
    Build.source_id == bindparam("source"),
    Build.ref == bindparam("ref"),
    Build.pull_request_id.is_not_distinct_from(bindparam("pull_request")),
    Build.state != State.CANCELLED,
)
_SAME_COMMIT = _SAME_REF.where(
    # One that ended before its commit was found out says nothing of this one.
    (Build.commit == bindparam("commit")) | (Build.commit.is_(None) & Build.state.not_in(FINAL))
)
_HELD_BEFORE = (
    select(DeliveryEvent.commit, DeliveryEvent.before)
    .where(DeliveryEvent.source_id == bindparam("source"), DeliveryEvent.ref == bindparam("ref"))
    .where(DeliveryEvent.commit.is_not(None), DeliveryEvent.before.is_not(None))
    .order_by(DeliveryEvent.delivery_id.desc())
    .limit(_PUSHES)
)
# Whatever it was taken for: most SCMs sign neither the id nor the event's name, which are headers.
_SAME_BODY = select(Delivery.id).where(
    Delivery.source_id == bindparam("source"),
    Delivery.body_sha256 == bindparam("body_sha256"),
    MAY_BE_OF_REQUEST,
)
_REJECTED = select(func.count()).where(
    Delivery.source_id == bindparam("source"),
    Delivery.state == "rejected",
    Delivery.id > bindparam("since"),
)
_log = log.get(__name__)


@dataclass(frozen=True)
class Receipt:
    """What became of a delivery: the builds it started, older ones that it ended, work to be handed over."""

    delivery_id: str
    state: str
    reason: Reason | None = None
    builds: list[str] = field(default_factory=list)
    superseded: list[str] = field(default_factory=list)
    promised: list[Waiting] = field(default_factory=list)


@dataclass(frozen=True)
class _Call:
    """A call that is rightly signed and could be read; `called` has the hook: a connection, or a source."""

    called: Source
    scm: Scm
    headers: Mapping[str, str]
    body: bytes
    verification: Verification
    events: Sequence[Event]
    now: datetime


def receive(
    database: Database, source_name: str, headers: Mapping[str, str], body: bytes, now: datetime
) -> Receipt:
    """Take one call of a source's hook.

    Raises:
        Unauthenticated: `hook.unauthenticated`, the same for an unknown source and a wrong signature.
        InvalidInput: `hook.unparsable`, signed rightly but not readable.
    """
    with database.read() as session:
        source = session.scalars(_NAMED, {"name": source_name}).unique().first()
    scm = receiver_of(source) if source else scm_for("generic")
    secrets = [_secret(row) for row in source.secrets] if source else []
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
    call = _Call(source, scm, headers, body, verification, events, now)
    receipt = database.write(lambda session: _take(session, call))
    for build_id in receipt.builds:
        with log.bind(delivery_id=receipt.delivery_id, build_id=build_id):
            _log.info("delivery.accepted", source=source.name, superseded=receipt.superseded)
    return receipt


def _secret(row: SourceSecret) -> Secret:
    return Secret(row.id, row.value, row.kind, in_use=row.last_used_at is not None)  # type: ignore[arg-type]


def too_large(limit: int) -> LimitExceeded:
    """The refusal of a body over the limit; decided before it is read."""
    return LimitExceeded(f"A webhook body may have {limit} bytes.", code="hook.too_large")


def _take(session: Session, call: _Call) -> Receipt:
    """Take a delivery for whom it is: of a connection the sources of its repository, else the one called."""
    addressed = [call.called]
    if call.called.scope == OWNER:
        addressed = connections.targets(session, call.called, call.events[0]) or addressed
    return _as_one([_accept(session, source, call) for source in addressed])


def _as_one(receipts: Sequence[Receipt]) -> Receipt:
    """What became of a delivery that several sources had an interest in."""
    first = next((one for one in receipts if one.state == "accepted"), receipts[0])
    made = [build_id for one in receipts for build_id in one.builds]
    ended = [build_id for one in receipts for build_id in one.superseded]
    promised = [work for one in receipts for work in one.promised]
    return replace(first, builds=made, superseded=ended, promised=promised)


def _accept(session: Session, source: Source, call: _Call) -> Receipt:
    """Note the delivery for one source, and make what follows from it, unless it is known."""
    # Two hooks that announce one commit at once must see each other's build, and twins each other.
    builds.hold_source(session, source.id)
    if (known := _duplicate(session, source, call)) is not None:
        return known
    delivery = _row(source, call.scm, call.headers, call.body, call.verification, call.now)
    delivery.key = _key(call)
    delivery.connection_id = None if call.called.scope != OWNER else call.called.id
    first = call.events[0]
    delivery.kind, delivery.ref, delivery.commit = first.kind, first.ref or None, first.commit
    delivery.actor, delivery.title = first.actor, first.title[:500] or None
    _note_use(session, call)
    noted = [_note(session, source, delivery, event, call.now) for event in call.events]
    reason = None if any(one.reason is None for one in noted) else noted[0].reason
    delivery.state, delivery.reason = "ignored" if reason else "accepted", reason
    receipt = Receipt(delivery.id, delivery.state, reason, promised=handover.promise(session))
    direct.insert(session, delivery, *delivery.events)
    for event, one in zip(call.events, noted, strict=True):
        receipt.superseded.extend(one.ended)
        if one.reason is None:
            build = _begin(session, source, delivery, event, one.row)
            receipt.builds.append(build.id)
            receipt.promised.extend(handover.promise(session))
            receipt.superseded.extend(builds.supersede(session, build, _held_before(session, build)))
    return receipt


def _note_use(session: Session, call: _Call) -> None:
    """Say that a secret is in use, to the minute: not every delivery is worth a change of its row."""
    used = next(secret for secret in call.called.secrets if secret.id == call.verification.secret_id)
    if used.last_used_at is None or call.now - used.last_used_at > _USE_TOLD_EVERY:
        session.execute(update(SourceSecret).where(SourceSecret.id == used.id).values(last_used_at=call.now))


def _note(session: Session, source: Source, delivery: Delivery, event: Event, now: datetime) -> Taken:
    """Note one event of a delivery, and whether it asks for a build."""
    reason = why_nothing(source, event, lambda: connections.known_api(session, source))
    taken = Taken(reason=Reason.PULL_REQUEST_REPEATED)
    if not _is_repeated(session, delivery, event):
        taken = pulls.take(session, source, event, reason, now)
    is_said_twice = any((event.ref, event.commit) == (one.ref, one.commit) for one in delivery.events)
    reason = taken.reason or (
        Reason.ALREADY_BUILT if is_said_twice else _built_already(session, source, event, taken.row)
    )
    delivery.events.append(
        DeliveryEvent(
            delivery_id=delivery.id,
            source_id=source.id,
            position=len(delivery.events),
            kind=event.kind,
            ref=event.ref or None,
            commit=event.commit,
            before=event.before,
            title=event.title[:500] or None,
            reason=reason,
        )
    )
    if reason is Reason.REPOSITORY_UNKNOWN:
        offers.note(session, source, event)
    if reason in (Reason.REPOSITORY_RENAMED, Reason.REPOSITORY_MOVED):
        session.get_one(Source, source.id).moved_to = event.moved_to
    if reason is Reason.COMMAND_WAITS:
        builds.add_task(session, builds.COMMAND, delivery.id)
    return replace(taken, reason=reason)


def _begin(
    session: Session, source: Source, delivery: Delivery, event: Event, pull_request: PullRequest | None
) -> Build:
    """Start the build that an event asks for."""
    return builds.start(
        session,
        source,
        ref=event.ref,
        commit=event.commit,
        trigger=f"webhook:{delivery.scm}",
        actor=event.actor,
        title=(event.pull_request.title if event.pull_request else event.title) or None,
        delivery_id=delivery.id,
        pull_request=pull_request,
    )


def _held_before(session: Session, build: Build) -> dict[str, str]:
    """What the branch of a build held before each of its last commits, as deliveries say."""
    asked = {"source": build.source_id, "ref": build.ref}
    rows: Sequence[Any] = direct.ask(session, _HELD_BEFORE, asked).all()
    return dict(reversed(rows))


def _is_repeated(session: Session, delivery: Delivery, event: Event) -> bool:
    """Whether this was told of a pull request before, and would open, change or close it once more.

    Its SCM keeps the id of what it sends again. Two events have two bodies: all SCMs say when it changed.
    """
    if event.pull_request is None:
        return False
    asked = {"source": delivery.source_id, "body_sha256": delivery.body_sha256}
    return direct.ask(session, _SAME_BODY, asked).first() is not None


def _built_already(
    session: Session, source: Source, event: Event, pull_request: PullRequest | None
) -> Reason | None:
    """Group and project hooks both fire, and a release follows its tag: one commit of one ref builds once.

    Of a pull request once each time that it is opened: its stage goes when it is closed.
    """
    if not event.commit and event.kind is not EventKind.RELEASE:
        return None
    asked = {"source": source.id, "ref": event.ref, "pull_request": pull_request and pull_request.id}
    same = _SAME_REF
    if event.commit:
        same, asked["commit"] = _SAME_COMMIT, event.commit
    if pull_request:
        same = same.where(Build.created_at >= pull_request.opened_at)
    return Reason.ALREADY_BUILT if direct.ask(session, same, asked).first() else None


def _key(call: _Call) -> str | None:
    """What makes a delivery the same one: its id is not always signed, so its body counts too.

    A command by its comment: two hooks tell of it under two ids, and what somebody asked once is done once.
    """
    comment = call.events[0].comment
    if comment and comment.id:
        return f"comment:{comment.request}:{comment.id}"
    if call.verification.delivery_id is None:
        return None
    return f"{call.verification.delivery_id}:{hashlib.sha256(call.body).hexdigest()[:32]}"


def _duplicate(session: Session, source: Source, call: _Call) -> Receipt | None:
    """What became of the same delivery when it came before."""
    key = _key(call)
    if key is None:
        return None
    known = direct.ask(session, _SAME_DELIVERY, {"source": source.id, "key": key}).first()
    if known is None:
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
    """Note a refused call, unless many were: who cannot sign fills no disk and keeps no writer."""
    delivery = _row(source, scm, headers, body[:_REFUSED_BODY_BYTES], verification, now)
    # Without a key: a refused call must not occupy the id under which the true one may still come.
    delivery.state, delivery.reason = "rejected", reason or verification.reason
    delivery.body_sha256 = hashlib.sha256(body).hexdigest()
    asked = {"source": source.id, "since": first_id("dlv", now - timedelta(hours=1))}
    with database.read() as session:
        recent = session.execute(_REJECTED, asked).scalar_one()
    # Calls at one moment may pass by some, since none holds the others up.
    if recent < _REJECTED_PER_HOUR:
        with database.begin() as session:
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
        scm=scm.kind,
        received_at=now,
        state="received",
        headers=shown,
        body=body,
        body_sha256=hashlib.sha256(signed_part(headers, body)).hexdigest(),
        events=[],
        steps=[{"name": step.name, "ok": step.ok, "detail": step.detail} for step in verification.steps],
    )


def _refused() -> Unauthenticated:
    return Unauthenticated("This delivery is not signed as it should be.", code="hook.unauthenticated")


def sentence(reason: str | None) -> str:
    """A reason in words."""
    return SENTENCE[Reason(reason)] if reason else ""
