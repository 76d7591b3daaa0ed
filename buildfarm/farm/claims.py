"""Claims: single conditional UPDATEs on (id, attempt, expected state) of a job or a task.

No row changed means the caller is stale: it stops and discards. The same condition fences publishing.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import case, func, update
from sqlalchemy.orm import Session

from buildfarm import clock
from buildfarm.errors import StaleAttempt
from buildfarm.farm.model import Job, Task
from buildfarm.farm.rules import State

WorkKind = type[Job] | type[Task]


def claim(session: Session, kind: WorkKind, work_id: str, attempt: int) -> None:
    """From queued to running.

    Raises:
        StaleAttempt: somebody else has it, or it is over.
    """
    now = clock.now()
    values = {"heartbeat_at": now, "started_at": func.coalesce(kind.started_at, now), "finished_at": None}
    _change(session, kind, work_id, attempt, State.QUEUED, {"state": State.RUNNING, **values})


def heartbeat(session: Session, kind: WorkKind, work_id: str, attempt: int, **values: Any) -> None:  # noqa: ANN401
    """Renew a claim, and note what changed on the way.

    Raises:
        StaleAttempt: the claim is no longer held.
    """
    _change(session, kind, work_id, attempt, State.RUNNING, {"heartbeat_at": clock.now(), **values})


def finish(
    session: Session,
    kind: WorkKind,
    work_id: str,
    attempt: int,
    state: State,
    **values: Any,  # noqa: ANN401
) -> None:
    """From running to a final state.

    Raises:
        StaleAttempt: only the holder of the current claim may end it.
    """
    ended = {"state": state, "finished_at": clock.now(), **values}
    _change(session, kind, work_id, attempt, State.RUNNING, ended)


def requeue(session: Session, kind: WorkKind, work_id: str, attempt: int) -> None:
    """From running to queued under the next attempt number; every copy of the old one is stale now.

    Raises:
        StaleAttempt: it moved on by itself.
    """
    values = {"attempt": attempt + 1, "hand_over": 0, "handed_over_at": None, "heartbeat_at": None}
    _change(session, kind, work_id, attempt, State.RUNNING, {"state": State.QUEUED, **values})


def put_down(session: Session, kind: WorkKind, work_id: str, attempt: int) -> None:
    """From running back to the outbox: its holder waits for something, and no attempt is used up.

    Only the holder may, and it stops with that: there is no late writer to fence.

    Raises:
        StaleAttempt: the claim is no longer held.
    """
    values = {"state": State.QUEUED, "heartbeat_at": None, **_in_outbox(kind)}
    _change(session, kind, work_id, attempt, State.RUNNING, values)


def put_back(session: Session, kind: WorkKind, work_id: str, attempt: int) -> None:
    """Back to the outbox what was handed over to somebody who may not have it.

    Raises:
        StaleAttempt: somebody else has it, or it is over.
    """
    _change(session, kind, work_id, attempt, State.QUEUED, _in_outbox(kind))


def refuse(session: Session, kind: WorkKind, work_id: str, attempt: int, **values: Any) -> None:  # noqa: ANN401
    """From queued to failed: what can be handed to nobody.

    Raises:
        StaleAttempt: it moved on by itself.
    """
    ended = {"state": State.FAILED, "finished_at": clock.now(), **values}
    _change(session, kind, work_id, attempt, State.QUEUED, ended)


def queued_values(queue: str, now: datetime) -> dict[str, Any]:
    """The columns of new work that waits for its first hand-over."""
    return {"state": State.QUEUED, "queue": queue, "attempt": 1, "hand_over": 0, "created_at": now}


def _in_outbox(kind: WorkKind) -> dict[str, Any]:
    """The columns of work that was handed over and is to be handed over again.

    Who handed it over may not have noted that so far. It is counted here then: RQ would take the next one for
    the same.
    """
    count = kind.hand_over + case((kind.handed_over_at.is_(None), 1), else_=0)
    return {"hand_over": count, "handed_over_at": None}


def _change(
    session: Session, kind: WorkKind, work_id: str, attempt: int, expected: State, values: dict[str, Any]
) -> None:
    changed = session.execute(
        update(kind)
        .where(kind.id == work_id, kind.attempt == attempt, kind.state == expected)
        .values(**values)
        .returning(kind.id)
        .execution_options(synchronize_session="fetch")
    ).scalar_one_or_none()
    if changed is None:
        raise StaleAttempt(f"Attempt {attempt} of {work_id} is no longer {expected}.", work=work_id)
