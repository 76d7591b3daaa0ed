"""Which jobs may go to builders now: decided whenever rows of the outbox are handed over.

What may not go stays in the outbox, in SQL, and is asked about again with the next hand-over. The order
among what was handed over is RQ's: a worker pops its queues in the order of its list.
"""

from __future__ import annotations

import contextlib
from typing import Any

from sqlalchemy import (
    Row,
    Select,
    and_,
    case,
    func,
    literal_column,
    or_,
    select,
    union_all,
)
from sqlalchemy.orm import Session

from buildfarm import clock
from buildfarm.config import Settings
from buildfarm.errors import Conflict, StaleAttempt
from buildfarm.farm import claims, comparisons, crew, packing
from buildfarm.farm.model import Builder, Job, Pause
from buildfarm.farm.rules import State
from buildfarm.journal.record import record
from buildfarm.sources.model import Source

#: Rows are asked for by so many selects in one statement; SQLite joins 500 at most.
_SELECTS = 100
#: Hand-overs of a queue that wait in RQ, which keeps more than a kilobyte of memory for each: far more than
#: builders take until the next ones are handed over, which whoever commits a claim or an end does at once.
IN_QUEUE = 100

#: After so many hand-overs of an attempt whoever has it keeps it.
_BOUNCES = 20
_DISPATCH = "dispatch"
_OUTBOX = and_(Job.state == State.QUEUED, Job.handed_over_at.is_(None), Job.kept_by_id.is_(None))
#: Written out, as the partial index is: a planner does not look into parameters.
_HANDED_OVER = and_(Job.state == literal_column(f"'{State.QUEUED}'"), Job.handed_over_at.is_not(None))


def ready_jobs(session: Session, limit: int) -> list[Row[Any]]:
    """Queued jobs to hand over now, the most urgent first, then the oldest: id, queue, attempt, hand_over.

    Of a queue no more than keep `IN_QUEUE` before the builders, of a source no more than `jobs_max` leaves
    room for, and nothing while dispatch is paused. Costs by sources that wait in queues with room and by rows
    that are returned, not by rows that wait.
    """
    if paused(session):
        return []
    found: list[Row[Any]] = []
    rooms = session.execute(_rooms()).all()
    for first in range(0, len(rooms), _SELECTS):
        heads = [
            _head(room, limit if room.of_source is None else min(room.of_source, limit))
            for room in rooms[first : first + _SELECTS]
        ]
        found += session.execute(union_all(*heads)).all()
    found.sort(key=lambda row: (row.urgency, row.id))
    of_queue = {room.queue: room.of_queue for room in rooms}
    of_source = {room.source_id: limit if room.of_source is None else room.of_source for room in rooms}
    taken: list[Row[Any]] = []
    for row in found:
        if len(taken) < limit and of_queue[row.queue] > 0 and of_source[row.source_id] > 0:
            of_queue[row.queue] -= 1
            of_source[row.source_id] -= 1
            taken.append(row)
    return taken


def kept_jobs(session: Session) -> list[Job]:
    """Jobs that waited for memory and have it now: they go before what else waits."""
    return [] if paused(session) else packing.let_go(session)


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
    if builder.drained_at or not crew.is_fit(builder) or paused(session):
        return False
    return not packing.rests(session, builder)


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
    elif not packing.admits(session, builder, job_id, number, settings):
        sentence = f"The host of {builder.name} has not the memory for it now."
        refusal = Conflict(sentence, code="builder.memory")
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


def _rooms() -> Select[Any]:
    """Each source that waits in a queue, where both have room: queue, source_id, of_queue, of_source.

    A recursion goes from one entry of the index to the next, over all rows between them: first the queues
    that have somebody waiting, then in those with room the sources.
    """
    first = select(func.min(Job.queue).label("queue")).where(_OUTBOX)
    queues = first.cte("queues", recursive=True)
    following = select(func.min(Job.queue)).where(_OUTBOX, Job.queue > queues.c.queue).scalar_subquery()
    queues = queues.union_all(select(following).where(queues.c.queue.is_not(None)))

    in_queue = select(func.count()).select_from(Job).where(Job.queue == queues.c.queue, _HANDED_OVER)
    of_queue = (IN_QUEUE - in_queue.scalar_subquery()).label("room")
    with_room = select(queues.c.queue, of_queue).where(queues.c.queue.is_not(None)).cte("with_room")
    least = select(func.min(Job.source_id)).where(_OUTBOX, Job.queue == with_room.c.queue).scalar_subquery()
    pairs = (
        select(with_room.c.queue, with_room.c.room, least.label("source_id"))
        .where(with_room.c.room > 0)
        .cte("pairs", recursive=True)
    )
    after = (Job.queue == pairs.c.queue, Job.source_id > pairs.c.source_id)
    following = select(func.min(Job.source_id)).where(_OUTBOX, *after).scalar_subquery()
    pairs = pairs.union_all(
        select(pairs.c.queue, pairs.c.room, following).where(pairs.c.source_id.is_not(None))
    )

    of_source = case((Source.jobs_max.is_not(None), Source.jobs_max - crew.with_builders(Source.id)))
    columns = (pairs.c.queue, pairs.c.source_id, pairs.c.room.label("of_queue"), of_source.label("of_source"))
    query = select(*columns).join(Source, Source.id == pairs.c.source_id)
    return query.where(or_(Source.jobs_max.is_(None), of_source > 0))


def _head(room: Row[Any], size: int) -> Any:  # noqa: ANN401
    columns = (Job.id, Job.queue, Job.source_id, Job.attempt, Job.hand_over, Job.urgency)
    waiting = (Job.queue == room.queue, Job.source_id == room.source_id, _OUTBOX)
    rows = select(*columns).where(*waiting).order_by(Job.id).limit(min(room.of_queue, size))
    # SQLite takes LIMIT within a UNION in a subquery alone.
    return select(rows.subquery())
