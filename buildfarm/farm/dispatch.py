"""Which jobs may go to builders now: decided whenever rows of the outbox are handed over.

What may not go stays in the outbox, in SQL, and is asked about again with the next hand-over. The order
among what was handed over is RQ's: a worker pops its queues in the order of its list.
"""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Row, ScalarSelect, and_, case, exists, func, or_, select, union_all
from sqlalchemy.orm import InstrumentedAttribute, Session

from buildfarm import clock
from buildfarm.config import Settings
from buildfarm.errors import Conflict, StaleAttempt
from buildfarm.farm import claims, comparisons, crew
from buildfarm.farm.model import Builder, Job, Pause
from buildfarm.farm.rules import State
from buildfarm.journal.record import record
from buildfarm.sources.model import Source

#: Before any hand-over. An index answers `> _EVER`, and `IS NOT NULL` on SQLite not.
_EVER = datetime(1970, 1, 1, tzinfo=UTC)
#: Sources whose rows are asked for in one statement; SQLite joins 500 selects at most.
_SOURCES = 100

#: After so many hand-overs of an attempt whoever has it keeps it.
_BOUNCES = 20
_DISPATCH = "dispatch"
_OUTBOX = and_(Job.state == State.QUEUED, Job.handed_over_at.is_(None))


def ready_jobs(session: Session, limit: int) -> list[Row[Any]]:
    """Queued jobs to hand over now, the most urgent first, then the oldest: id, queue, attempt, hand_over.

    Of a source no more than `jobs_max` leaves room for, and nothing while dispatch is paused. Costs by
    sources that wait and rows that are returned, not by rows that wait.
    """
    if paused(session):
        return []
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


def paused(session: Session) -> Pause | None:
    """Who paused dispatch, and why; None while it goes on."""
    return session.get(Pause, _DISPATCH)


def pause(session: Session, *, actor: str, reason: str) -> Pause:
    """Hand no job to any builder until `resume`; what runs goes on, what comes in is queued."""
    row = paused(session)
    if row is None:
        row = Pause(name=_DISPATCH, since=clock.now(), actor=actor, reason=reason)
        session.add(row)
        record(session, "dispatch.pause", actor=actor)
    return row


def resume(session: Session, *, actor: str) -> None:
    """Hand jobs over again; harmless when dispatch is not paused."""
    if row := paused(session):
        session.delete(row)
        record(session, "dispatch.resume", actor=actor)


def may_take(session: Session, builder: Builder) -> bool:
    """Whether this builder should look for work at all."""
    return builder.drained_at is None and crew.is_fit(builder) and paused(session) is None


def turn_away(
    session: Session, builder: Builder, job_id: str, number: int, settings: Settings
) -> Conflict | None:
    """Why the builder may not have this attempt, which is then in the outbox again; None when it may.

    What was handed over before a pause or a drain is still in RQ, where nobody looks for it.
    """
    if paused(session):
        refusal = Conflict("The farm hands out no work now.", code="dispatch.paused")
    elif builder.drained_at:
        refusal = Conflict(f"The builder {builder.name} is drained.", code="builder.drained")
    elif crew.failed_checks(builder):
        refusal = Conflict(f"The builder {builder.name} failed its self-test.", code="builder.unfit")
    elif (job := session.get(Job, job_id)) and not crew.knows_images(session, builder, job):
        refusal = Conflict("The image is new; the builder has not looked for it.", code="builder.image")
    elif _is_better_elsewhere(session, builder, job_id, settings):
        sentence = "Another builder is to have it: this one failed it before, made the same files first, or "
        sentence += "would emulate a machine that the other one is."
        refusal = Conflict(sentence, code="attempt.elsewhere")
    else:
        return None
    with contextlib.suppress(StaleAttempt):
        claims.put_back(session, Job, job_id, number)
    return refusal


def _is_better_elsewhere(session: Session, builder: Builder, job_id: str, settings: Settings) -> bool:
    """Whether this builder should leave the job to another one, which could take it now.

    It should where the farm failed the job on it before, where it made the files that the job makes again, or
    where it would emulate what the other one runs by itself.
    Who pops a job is RQ's choice, so it may come back here a few times before the other one has it.
    """
    job = session.get(Job, job_id)
    if job is None or job.hand_over >= _BOUNCES:
        return False
    if job.queue in crew.left_to_natives(session, builder, settings):
        return True
    avoided = crew.tried_in_vain(session, job)
    if first := comparisons.first_builder(session, job):
        avoided.add(first)
    return builder.id in avoided and bool(crew.others_for(session, job, avoided, settings))


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
