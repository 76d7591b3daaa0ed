"""Which jobs may go to builders now: decided whenever rows of the outbox are handed over.

What may not go stays in the outbox, in SQL, and is asked about again with the next hand-over. The order
among what was handed over is RQ's: a worker pops its queues in the order of its list.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Row, ScalarSelect, and_, case, exists, func, or_, select, union_all
from sqlalchemy.orm import InstrumentedAttribute, Session

from buildfarm.farm.model import Job
from buildfarm.farm.rules import State
from buildfarm.sources.model import Source

#: Before any hand-over. An index answers `> _EVER`, and `IS NOT NULL` on SQLite not.
_EVER = datetime(1970, 1, 1, tzinfo=UTC)
#: Sources whose rows are asked for in one statement; SQLite joins 500 selects at most.
_SOURCES = 100

_OUTBOX = and_(Job.state == State.QUEUED, Job.handed_over_at.is_(None))


def ready_jobs(session: Session, limit: int) -> list[Row[Any]]:
    """Queued jobs to hand over now, the most urgent first, then the oldest: id, queue, attempt, hand_over.

    Of a source no more than `jobs_max` leaves room for. Costs by sources that wait and rows that are
    returned, not by rows that wait.
    """
    at_work = with_builders(Source.id)
    room = case((Source.jobs_max.is_(None), limit), else_=Source.jobs_max - at_work)
    waits = exists().where(Job.source_id == Source.id, _OUTBOX)
    has_room = or_(Source.jobs_max.is_(None), Source.jobs_max > at_work)
    rooms = session.execute(select(Source.id, room).where(waits, has_room).order_by(Source.id)).all()
    found: list[Row[Any]] = []
    for first in range(0, len(rooms), _SOURCES):
        heads = [_head(source_id, min(free, limit)) for source_id, free in rooms[first : first + _SOURCES]]
        found += session.execute(union_all(*heads)).all()
    found.sort(key=lambda row: (row.urgency, row.id))
    return found[:limit]


def with_builders(source_id: InstrumentedAttribute[str] | str) -> ColumnElement[int]:
    """How many jobs of a source run, or wait in RQ where a builder may take them at any moment."""
    return _count(source_id, Job.state == State.RUNNING) + _count(
        source_id, Job.state == State.QUEUED, Job.handed_over_at > _EVER
    )


def _count(source_id: Any, *conditions: ColumnElement[bool]) -> ScalarSelect[int]:  # noqa: ANN401
    return select(func.count()).where(Job.source_id == source_id, *conditions).scalar_subquery()


def _head(source_id: str, size: int) -> Any:  # noqa: ANN401
    columns = (Job.id, Job.queue, Job.attempt, Job.hand_over, Job.urgency)
    rows = select(*columns).where(Job.source_id == source_id, _OUTBOX).order_by(Job.urgency, Job.id)
    # SQLite takes LIMIT within a UNION in a subquery alone.
    return select(rows.limit(size).subquery())
