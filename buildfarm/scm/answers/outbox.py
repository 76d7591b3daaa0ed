"""Keeping the outbox moving: tasks for the hosts that something waits for, the end of what nobody wants."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from buildfarm import clock
from buildfarm.db.engine import Database
from buildfarm.farm.builds import NOTIFY, add_task
from buildfarm.farm.model import Task
from buildfarm.farm.rules import FINAL
from buildfarm.scm.answers.model import Answer, AnswerComment, AnswerPause
from buildfarm.scm.answers.pause import is_spent, paused

#: An SCM that was away for so long is told nothing of then: commits are looked at while they are fresh.
_GIVEN_UP = timedelta(days=30)
#: What was settled so long ago is forgotten.
_KEPT = timedelta(days=90)
_BATCH = 1000


def start_sending(database: Database) -> int:
    """A task for each host that may be told what waits for it; how many were made. For each round."""
    with database.read() as session:
        hosts = _due(session)
    if not hosts:
        return 0
    made = 0
    with database.begin() as session:
        for host in sorted(hosts):
            mine = (Task.kind == NOTIFY) & (Task.subject == host)
            session.execute(delete(Task).where(mine, Task.state.in_(FINAL)))
            if session.execute(select(Task.id).where(mine)).first() is None:
                add_task(session, NOTIFY, host)
                made += 1
    return made


def drop(session: Session, source_id: str) -> None:
    """The source's SCM is told nothing more: of what waits nothing is sent."""
    now = clock.now()
    session.execute(
        update(Answer)
        .where(Answer.source_id == source_id, Answer.state == "waiting")
        .values(state="dropped", settled_at=now)
    )
    session.execute(delete(AnswerComment).where(AnswerComment.source_id == source_id))
    session.execute(delete(AnswerPause).where(AnswerPause.key == source_id))


def address_again(session: Session, source_id: str, host: str) -> None:
    """The source's SCM is spoken to anew, maybe elsewhere: what waits goes there, and at once."""
    session.execute(
        update(Answer).where(Answer.source_id == source_id, Answer.state == "waiting").values(host=host)
    )
    session.execute(delete(AnswerPause).where(AnswerPause.key == source_id))


def tidy(database: Database) -> int:
    """Give up what waited too long, forget what was settled long ago; how many rows changed."""
    now = clock.now()
    with database.begin() as session:
        stale = (
            select(Answer.id)
            .where(Answer.state == "waiting", Answer.noted_at < now - _GIVEN_UP)
            .order_by(Answer.id)
            .limit(_BATCH)
        )
        old = select(Answer.id).where(Answer.settled_at < now - _KEPT).order_by(Answer.id).limit(_BATCH)
        given_up = session.execute(
            update(Answer)
            .where(Answer.id.in_(stale))
            .values(state="dropped", settled_at=now, error="It waited for 30 days.")
            .returning(Answer.id)
        ).all()
        forgotten = session.execute(delete(Answer).where(Answer.id.in_(old)).returning(Answer.id)).all()
    return len(given_up) + len(forgotten)


def _due(session: Session) -> set[str]:
    waiting = session.execute(
        select(Answer.host, Answer.source_id).where(Answer.state == "waiting").distinct()
    ).all()
    if not waiting:
        return set()
    left_alone = paused(session)
    hosts = {row.host for row in waiting if not {row.host, row.source_id} & left_alone}
    return {host for host in hosts if not is_spent(session, host)}
