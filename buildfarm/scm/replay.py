"""Replaying a delivery: its events are read anew and start other builds, or it is said why not."""

from __future__ import annotations

from sqlalchemy.orm import Session

from buildfarm.errors import Conflict, NotFound
from buildfarm.farm import builds
from buildfarm.farm.model import Build
from buildfarm.scm import connections, pulls
from buildfarm.scm.kinds import reader_of
from buildfarm.scm.model import Delivery
from buildfarm.scm.reasons import REMEDY, SENTENCE, Reason
from buildfarm.scm.rules import why_nothing
from buildfarm.sources.model import Source
from buildfarm.sources.names import REMOVED

#: What a delivery became whose signature was right and whose body could be read.
REPLAYABLE = frozenset({"accepted", "ignored"})


def replay(session: Session, delivery_id: str, *, actor: str) -> list[Build]:
    """Start a new build for each thing that the delivery announced, by today's settings of its source.

    The ledger keeps what became of the delivery when it came; the builds name it.

    Raises:
        NotFound: `delivery.unknown`.
        Conflict: `delivery.unverified`; `delivery.no_body`; `delivery.source_removed`;
            `delivery.starts_nothing`.
    """
    delivery = session.get(Delivery, delivery_id)
    if delivery is None:
        raise NotFound(f"There is no delivery {delivery_id}.", code="delivery.unknown")
    if delivery.state not in REPLAYABLE:
        raise Conflict(
            f"Delivery {delivery_id} was {delivery.state}: only what was verified is replayed.",
            code="delivery.unverified",
            hint="`buildfarm build start` builds without a delivery.",
        )
    if delivery.body is None:
        raise Conflict(
            f"The body of delivery {delivery_id} is not kept, so it cannot be read anew.",
            code="delivery.no_body",
            hint="`buildfarm build start` builds what a ref holds now.",
        )
    source = session.get_one(Source, delivery.source_id)
    if REMOVED in source.name:
        raise Conflict("The source of this delivery was removed.", code="delivery.source_removed")
    events = reader_of(delivery.scm, source).parse(delivery.headers, delivery.body)
    known = [pulls.of_event(session, source, event) for event in events]

    def api() -> str:
        return connections.known_api(session, source)

    reasons = [
        why_nothing(source, event, api) or pulls.why_not(row, event)
        for event, row in zip(events, known, strict=True)
    ]
    if all(reasons):
        why = Reason(reasons[0] or "")
        raise Conflict(SENTENCE[why], code="delivery.starts_nothing", hint=REMEDY[why])
    return [
        builds.start(
            session,
            source,
            ref=event.ref,
            commit=event.commit,
            trigger="replay",
            actor=actor,
            title=(row.title if row else event.title) or None,
            delivery_id=delivery.id,
            pull_request=row,
        )
        for event, row, reason in zip(events, known, reasons, strict=True)
        if reason is None
    ]
