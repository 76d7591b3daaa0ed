"""How sources stand with their SCMs: when each was last in step, and whether its hook is refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session, aliased

from buildfarm.farm import sdists
from buildfarm.scm.model import Delivery, Sighting
from buildfarm.scm.reasons import Reason
from buildfarm.sources.model import REPOSITORY, Source
from buildfarm.sources.names import REMOVED

#: So many refusals in a row of a hook that worked before are no accident.
REFUSALS = 3
#: A source that was not in step for so many intervals needs a person.
_LATE = 3


@dataclass(frozen=True)
class Step:
    """When everything that a source follows was last found built, and what keeps the farm from knowing.

    `problem` says what happened to the last look at the repository when it came to nothing, `code` says it
    for scripts; both are None when all went well. `refusals` counts deliveries that were refused since the
    last good one; it is 0 when none was ever good.
    """

    in_step_at: datetime | None
    next_look_at: datetime | None
    problem: str | None
    code: str | None
    refusals: int

    def is_late(self, now: datetime, since: datetime, sweep_s: float) -> bool:
        """Whether it was not in step for long; `since` is when the farm began to listen."""
        return now - (self.in_step_at or since) > timedelta(seconds=_LATE * sweep_s)


def steps_of(session: Session, source_ids: Sequence[str]) -> dict[str, Step]:
    """How each of the sources stands, by its id."""
    sightings = session.scalars(select(Sighting).where(Sighting.source_id.in_(source_ids)))
    seen = {row.source_id: row for row in sightings}
    refused = _refusals(session, source_ids)
    found = {}
    for source_id in source_ids:
        row = seen.get(source_id)
        found[source_id] = Step(
            in_step_at=row.in_step_at if row else None,
            next_look_at=row.next_at if row else None,
            problem=row.problem if row else None,
            code=row.code if row else None,
            refusals=refused.get(source_id, 0),
        )
    return found


def late_sources(session: Session, now: datetime, sweep_s: float) -> dict[str, Step]:
    """The sources that were not in step for long, by name."""
    live = select(Source).where(
        Source.name.not_like(f"%{REMOVED}%"), Source.scm != sdists.SCM, Source.scope == REPOSITORY
    )
    sources = session.scalars(live.order_by(Source.name)).all()
    steps = steps_of(session, [source.id for source in sources])
    return {
        source.name: steps[source.id]
        for source in sources
        if steps[source.id].is_late(now, source.created_at, sweep_s)
    }


def _refusals(session: Session, source_ids: Sequence[str]) -> dict[str, int]:
    good = aliased(Delivery)
    last_good = (
        select(func.max(good.id))
        .where(good.source_id == Delivery.source_id, good.state.in_(("accepted", "ignored")))
        .where(or_(good.reason.is_(None), good.reason != Reason.FOUND_BY_SWEEP))
        .scalar_subquery()
    )
    since = (
        select(Delivery.source_id, func.count())
        .where(Delivery.source_id.in_(source_ids), Delivery.state == "rejected", Delivery.id > last_good)
        .group_by(Delivery.source_id)
    )
    return dict(session.execute(since).all())
