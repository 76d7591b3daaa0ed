"""The keeper: repairs what was lost and ends what hangs. One is active, by a lease row.

Each step is idempotent and safe to run twice at once; the lease only saves work.
"""

from __future__ import annotations

import contextlib
from datetime import timedelta

from sqlalchemy import delete, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from buildfarm import clock, log
from buildfarm.config import Settings
from buildfarm.db.engine import Database
from buildfarm.errors import ExternalFailure, StaleAttempt
from buildfarm.farm import builds, claims, handover, jobs
from buildfarm.farm.model import Job, Lease, Task
from buildfarm.farm.queue import Queues
from buildfarm.farm.rules import Cause, State

LEASE = "keeper"
_log = log.get(__name__)


def hold_lease(database: Database, holder: str, seconds: float) -> bool:
    """Take or renew the keeper's lease; False while another one holds it."""
    now = clock.now()
    until = now + timedelta(seconds=seconds)
    with database.begin() as session:
        insert = sqlite.insert if session.get_bind().dialect.name == "sqlite" else postgresql.insert
        session.execute(insert(Lease).values(name=LEASE, holder=holder, until=until).on_conflict_do_nothing())
        held = session.execute(
            update(Lease)
            .where(Lease.name == LEASE, (Lease.holder == holder) | (Lease.until < now))
            .values(holder=holder, until=until)
            .returning(Lease.holder)
        ).scalar_one_or_none()
    return held == holder


def sweep(database: Database, queues: Queues, settings: Settings) -> None:
    """One round: end lapsed claims and deadlines, take back what Redis lost, hand over what waits."""
    lapsed = timedelta(seconds=settings.timing.lease_s)
    _end_lapsed_jobs(database, settings, lapsed)
    _requeue_lapsed_tasks(database, settings, lapsed)
    _end_overdue(database)
    try:
        lost = handover.take_back_lost(database, queues, timedelta(seconds=settings.timing.handover_grace_s))
        if lost:
            _log.warning("keeper.taken_back", work=lost)
        handover.hand_over_waiting(database, queues)
    except ExternalFailure as err:
        _log.warning("keeper.queue_away", code=err.code)


def _end_lapsed_jobs(database: Database, settings: Settings, lapsed: timedelta) -> None:
    for job_id in _silent(database, Job, lapsed):
        # Stale: it moved on between the look and the change, so there is nothing to repair.
        with contextlib.suppress(StaleAttempt), database.begin() as session:
            job = session.get_one(Job, job_id)
            if _still_silent(job, lapsed):
                state = jobs.lose(session, job, attempts_max=settings.limits.attempts)
                _log.warning("keeper.job_lost", job_id=job_id, attempt=job.attempt, now=state)


def _requeue_lapsed_tasks(database: Database, settings: Settings, lapsed: timedelta) -> None:
    for task_id in _silent(database, Task, lapsed):
        with database.begin() as session:
            task = session.get_one(Task, task_id)
            if _still_silent(task, lapsed):
                fail_or_retry_task(
                    session, task, "The worker fell silent.", attempts_max=settings.limits.attempts
                )
                _log.warning("keeper.task_lost", task_id=task_id, kind=task.kind)


def give_back_task(database: Database, settings: Settings, task_id: str, attempt: int) -> None:
    """The process that held this attempt of a task is known to be dead."""
    with database.begin() as session:
        task = session.get(Task, task_id)
        if task is not None and task.attempt == attempt and task.state == State.RUNNING:
            sentence = "The process that did it was killed."
            fail_or_retry_task(session, task, sentence, attempts_max=settings.limits.attempts)
            _log.warning("task.given_back", task_id=task_id, kind=task.kind)


def release_lease(database: Database, holder: str) -> None:
    """Give the lease up, so that another keeper need not wait for its end."""
    with database.begin() as session:
        session.execute(delete(Lease).where(Lease.name == LEASE, Lease.holder == holder))


def fail_or_retry_task(session: Session, task: Task, sentence: str, *, attempts_max: int) -> None:
    """A fault of the farm's own: the task gets another attempt, or its build ends with the sentence."""
    try:
        if task.attempt < attempts_max:
            claims.requeue(session, Task, task.id, task.attempt)
            return
        claims.finish(session, Task, task.id, task.attempt, State.FAILED, error=sentence)
    except StaleAttempt:
        return
    builds.end(session, task.subject, State.FAILED, cause=Cause.INFRASTRUCTURE, error=sentence)


def _end_overdue(database: Database) -> None:
    with database.read() as session:
        overdue = [job.id for job in builds.overdue(session, clock.now())]
    for job_id in overdue:
        with contextlib.suppress(StaleAttempt), database.begin() as session:
            jobs.time_out(session, session.get_one(Job, job_id))
            _log.warning("keeper.deadline", job_id=job_id)


def _silent(database: Database, kind: claims.WorkKind, lapsed: timedelta) -> list[str]:
    with database.read() as session:
        silent = select(kind.id).where(kind.state == State.RUNNING, kind.heartbeat_at < clock.now() - lapsed)
        return list(session.scalars(silent))


def _still_silent(work: Job | Task, lapsed: timedelta) -> bool:
    beat = work.heartbeat_at
    return work.state == State.RUNNING and beat is not None and beat < clock.now() - lapsed
