"""The keeper: repairs what was lost and ends what hangs. One is active, by a lease row.

Each step is idempotent and safe to run twice at once; the lease only saves work.
"""

from __future__ import annotations

import contextlib
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from buildfarm import clock, log
from buildfarm.config import Settings
from buildfarm.db.engine import Database
from buildfarm.errors import ExternalFailure, FarmError, StaleAttempt
from buildfarm.farm import builds, claims, handover, jobs, leases, logins, packing, rules
from buildfarm.farm.model import Job, Task
from buildfarm.farm.queue import Queues
from buildfarm.farm.rules import State

_log = log.get(__name__)


def sweep(database: Database, queues: Queues, settings: Settings) -> None:
    """One round: end lapsed claims and deadlines, take back what Redis lost, hand over what waits."""
    patience = timedelta(seconds=settings.timing.lease_s)
    with database.read() as session:
        # Builders are heard by web nodes, workers write to the database that the keeper's own lease is in.
        answered_since, kept_since = leases.answered_since(session), leases.kept_since(session)
    if answered_since:
        _end_lapsed_jobs(database, settings, answered_since, patience)
        _end_overdue(database, answered_since)
    if kept_since:
        _requeue_lapsed_tasks(database, settings, kept_since, patience)
    try:
        lost = handover.take_back_lost(database, queues, timedelta(seconds=settings.timing.handover_grace_s))
        if lost:
            _log.warning("keeper.taken_back", work=lost)
        _reconsider(database, settings)
        handover.hand_over_waiting(database, queues)
        with database.read() as session:
            logins.keep_logins(session, settings, queues)
    except ExternalFailure as err:
        _log.warning("keeper.queue_away", code=err.code)


def _reconsider(database: Database, settings: Settings) -> None:
    with database.read() as session:
        if not packing.is_any_kept(session):
            return
    with database.begin() as session:
        packing.reconsider(session, settings)


def _end_lapsed_jobs(
    database: Database, settings: Settings, heard_since: datetime, patience: timedelta
) -> None:
    for job_id in _silent(database, Job, heard_since, patience):
        # Stale: it moved on between the look and the change, so there is nothing to repair.
        with contextlib.suppress(StaleAttempt), database.begin() as session:
            job = session.get_one(Job, job_id)
            if rules.is_silent(job.state, job.heartbeat_at, heard_since, clock.now(), patience):
                state = jobs.lose(session, job, attempts_max=settings.limits.attempts)
                _log.warning("keeper.job_lost", job_id=job_id, attempt=job.attempt, now=state)


def _requeue_lapsed_tasks(
    database: Database, settings: Settings, heard_since: datetime, patience: timedelta
) -> None:
    for task_id in _silent(database, Task, heard_since, patience):
        with database.begin() as session:
            task = session.get_one(Task, task_id)
            if rules.is_silent(task.state, task.heartbeat_at, heard_since, clock.now(), patience):
                silent = ExternalFailure("The worker fell silent.", code="farm.worker_lost")
                fail_or_retry_task(session, task, silent, attempts_max=settings.limits.attempts)
                _log.warning("keeper.task_lost", task_id=task_id, kind=task.kind)


def give_back_task(database: Database, settings: Settings, task_id: str, attempt: int) -> None:
    """The process that held this attempt of a task is known to be dead."""
    with database.begin() as session:
        task = session.get(Task, task_id)
        if task is not None and task.attempt == attempt and task.state == State.RUNNING:
            killed = ExternalFailure("The process that did it was killed.", code="farm.worker_lost")
            fail_or_retry_task(session, task, killed, attempts_max=settings.limits.attempts)
            _log.warning("task.given_back", task_id=task_id, kind=task.kind)


def fail_or_retry_task(session: Session, task: Task, error: ExternalFailure, *, attempts_max: int) -> None:
    """A fault of the farm's own: the task gets another attempt, or its build ends with the error."""
    try:
        if task.attempt < attempts_max:
            claims.requeue(session, Task, task.id, task.attempt)
        else:
            fail_task(session, task, error)
    except StaleAttempt:
        return


def fail_task(session: Session, task: Task, error: FarmError) -> None:
    """End a build whose control task met an error that another try would meet again.

    Raises:
        StaleAttempt: the task moved on meanwhile.
    """
    claims.finish(session, Task, task.id, task.attempt, State.FAILED, error=str(error))
    builds.fail_for(session, task, error)


def _end_overdue(database: Database, heard_since: datetime) -> None:
    now = clock.now()
    if heard_since > now - jobs.DEADLINE_SLACK:
        return  # what ended in time may not have been able to say so yet
    with database.read() as session:
        overdue = [job.id for job in builds.overdue(session, now)]
    for job_id in overdue:
        with contextlib.suppress(StaleAttempt), database.begin() as session:
            jobs.time_out(session, session.get_one(Job, job_id))
            _log.warning("keeper.deadline", job_id=job_id)


def _silent(
    database: Database, kind: claims.WorkKind, heard_since: datetime, patience: timedelta
) -> list[str]:
    with database.read() as session:
        running = session.execute(
            select(kind.id, kind.state, kind.heartbeat_at).where(kind.state == State.RUNNING)
        ).all()
    now = clock.now()
    return [
        row.id for row in running if rules.is_silent(row.state, row.heartbeat_at, heard_since, now, patience)
    ]
