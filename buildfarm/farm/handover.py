"""Handing queued rows to RQ. A row in `queued` that was not handed over is the outbox.

Whoever commits such rows tries at once, or promised it in them; the keeper repeats what was missed or what
Redis lost. RQ's job id is made of (work, attempt, hand-over), so a repeated hand-over is one job.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, SQLColumnExpression, func, select, update
from sqlalchemy.orm import Session

from buildfarm import clock, log
from buildfarm.db import direct
from buildfarm.db.engine import Database
from buildfarm.errors import ExternalFailure, InvalidInput, StaleAttempt
from buildfarm.farm import builds, claims, dispatch, packing
from buildfarm.farm.claims import WorkKind
from buildfarm.farm.model import Job, Task
from buildfarm.farm.rules import Cause, State

if TYPE_CHECKING:  # loading Redis's client takes longer than anything else web loads, and may wait
    from buildfarm.farm.queue import Queues

#: The allow-listed functions that RQ may be told to run, by kind of work.
FUNCTIONS = {Job: "workers.builds.run_build", Task: "workers.tasks.run_task"}
#: RQ's own time limit: far above any real one; SQL and the container end work long before.
RQ_TIMEOUT_S = 7 * 24 * 3600
_BATCH = 200


@dataclass(frozen=True)
class Waiting:
    """One queued row."""

    kind: WorkKind
    id: str
    queue: str
    attempt: int
    hand_over: int
    is_first: bool = False


def hand_over_waiting(database: Database, queues: Queues) -> int:
    """Hand over the queued rows that may go now, a batch of each kind; returns how many.

    A row that no queue takes ends failed, and the others go on.

    Raises:
        ExternalFailure: `queue.unreachable`; what was not handed over stays in the outbox.
    """
    tasks = _queued(database, Task, Task.handed_over_at.is_(None), Task.id)
    return _hand_over(database, queues, [*tasks, *_kept_jobs(database), *_ready_jobs(database)])


def try_hand_over(database: Database, queues: Queues) -> None:
    """The same, at once after a commit, where a failure is the keeper's to repair."""
    with _left_to_the_keeper():
        hand_over_waiting(database, queues)


def promise(session: Session) -> list[Waiting]:
    """Note that what this transaction queued was handed over; whoever commits it does so at once.

    A burst of pushes is spared a query and a commit for each. A promise that nobody could keep is taken for
    what Redis lost.
    """
    promised = []
    for task in builds.take_queued(session):
        task.hand_over, task.handed_over_at = task.hand_over + 1, clock.now()
        if task in session.new:  # a query may have had it written; else it is now, without a flush
            session.expunge(task)
            direct.insert(session, task)
        promised.append(Waiting(Task, task.id, task.queue, task.attempt, task.hand_over))
    return promised


def try_hand_over_promised(database: Database, queues: Queues, promised: Iterable[Waiting]) -> None:
    """Keep promises; what cannot be handed over goes back to the outbox."""
    left = deque(promised)
    with _left_to_the_keeper():
        try:
            while left:
                _give(database, queues, left[0], left[0].hand_over)
                left.popleft()
        finally:
            if left:
                database.write(partial(_note_all, rows=left, handed_over_at=None))


def try_withdraw(database: Database, queues: Queues, build_id: str) -> None:
    """Take a cancelled build's hand-overs out of RQ, and hurry what runs; all of it may fail.

    What guarantees the end is the state in SQL, which every claim and every heartbeat asks.
    """
    with database.read() as session:
        rows = session.execute(
            select(Job.id, Job.queue, Job.attempt, Job.hand_over)
            .where(Job.build_id == build_id, Job.state.in_([State.RUNNING, State.CANCELLED]))
            .where(Job.hand_over > 0)
        ).all()
    try:
        for row in rows:
            queues.withdraw(row.queue, row.id, row.attempt, row.hand_over)
    except ExternalFailure as err:
        log.get(__name__).warning("withdraw.not_sent", code=err.code)


def take_back_lost(database: Database, queues: Queues, grace: timedelta) -> list[str]:
    """Return to the outbox what was handed over and is in no list of RQ any more.

    Never uses up an attempt: what Redis lost never ran. Asking Redis costs, so a round looks at a batch,
    drawn by lot: the first rows may be the same each time, of builders that are away, and hide the rest.
    """
    lost = []
    for kind in (Task, Job):
        for waiting in _queued(database, kind, kind.handed_over_at < clock.now() - grace, func.random()):
            if queues.holds(waiting.queue, waiting.id, waiting.attempt, waiting.hand_over):
                continue
            with database.begin() as session:
                _note(session, waiting, handed_over_at=None)
            lost.append(waiting.id)
    return lost


@contextlib.contextmanager
def _left_to_the_keeper() -> Iterator[None]:
    try:
        yield
    except ExternalFailure as err:
        log.get(__name__).warning("handover.postponed", code=err.code)


def _hand_over(database: Database, queues: Queues, rows: Iterable[Waiting]) -> int:
    done: list[Waiting] = []
    try:
        for waiting in rows:
            if _give(database, queues, waiting, waiting.hand_over + 1):
                done.append(waiting)  # noqa: PERF401 - what went before a failure is noted too
    finally:
        if done:
            # One commit for all: each would cost more than its hand-over.
            database.write(partial(_note_handed_over, done=done, now=clock.now()))
    return len(done)


def _give(database: Database, queues: Queues, waiting: Waiting, number: int) -> bool:
    """Put one row where a worker finds it; False where none ever would, and the row has ended."""
    where = (waiting.queue, FUNCTIONS[waiting.kind], waiting.id, waiting.attempt, number)
    try:
        queues.hand_over(*where, timeout_s=RQ_TIMEOUT_S, first=waiting.is_first)
    except InvalidInput as err:
        _refuse(database, waiting, err)
        return False
    return True


def _note_handed_over(session: Session, done: Sequence[Waiting], now: datetime) -> None:
    for waiting in done:
        _note(session, waiting, hand_over=waiting.hand_over + 1, handed_over_at=now)


def _note_all(session: Session, rows: Iterable[Waiting], **values: Any) -> None:  # noqa: ANN401
    for waiting in rows:
        _note(session, waiting, **values)


def _queued(
    database: Database, kind: WorkKind, condition: ColumnElement[bool], order: SQLColumnExpression[Any]
) -> list[Waiting]:
    """Of the queued rows for which the condition on their hand-over holds a batch, the first of the order."""
    with database.read() as session:
        rows = session.execute(
            select(kind.id, kind.queue, kind.attempt, kind.hand_over)
            .where(kind.state == State.QUEUED, condition)
            .order_by(order)
            .limit(_BATCH)
        ).all()
    return [Waiting(kind, *row) for row in rows]


def _kept_jobs(database: Database) -> list[Waiting]:
    """Each goes to the front of its queue, so the most urgent comes last."""
    with database.read() as session:
        if not packing.is_any_kept(session):
            return []
    with database.begin() as session:
        rows = dispatch.kept_jobs(session)
        return [
            Waiting(Job, row.id, row.queue, row.attempt, row.hand_over, is_first=True)
            for row in reversed(rows)
        ]


def _ready_jobs(database: Database) -> list[Waiting]:
    with database.read() as session:
        rows = dispatch.ready_jobs(session, _BATCH)
    return [Waiting(Job, row.id, row.queue, row.attempt, row.hand_over) for row in rows]


def _refuse(database: Database, waiting: Waiting, err: InvalidInput) -> None:
    """End a row that can never be handed over; waiting for it would be for ever."""
    sentence = f"It could not be handed to a worker: {err}"
    log.get(__name__).error("handover.refused", work=waiting.id, queue=waiting.queue, code=err.code)
    claim = (waiting.kind, waiting.id, waiting.attempt)
    with contextlib.suppress(StaleAttempt), database.begin() as session:
        if waiting.kind is Task:
            claims.refuse(session, *claim, error=sentence)
            task = session.get_one(Task, waiting.id)
            builds.fail_for(session, task, ExternalFailure(sentence, code="farm.queue"))
        else:
            job = session.get_one(Job, waiting.id)
            builds.hold(session, job.build_id)
            claims.refuse(
                session, *claim, cause=Cause.INFRASTRUCTURE, failure_class="farm", first_error=sentence
            )
            builds.settle(session, job.build_id)


def _note(session: Session, waiting: Waiting, **values: Any) -> None:  # noqa: ANN401
    """Change the row if nobody was quicker."""
    kind = waiting.kind
    session.execute(
        update(kind)
        .where(
            kind.id == waiting.id,
            kind.attempt == waiting.attempt,
            kind.hand_over == waiting.hand_over,
            kind.state == State.QUEUED,
        )
        .values(**values)
    )
