"""Leaving an SCM alone for a while: a host that is away or was asked too often, a source that it refuses."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from buildfarm import clock
from buildfarm.errors import FarmError
from buildfarm.scm.answers.model import Answer, AnswerPause
from buildfarm.scm.answers.rules import pause_after

#: No host is told more in a minute; GitHub allows 80 requests that make something ("Rate limits for the REST
#: API", secondary limits), and says itself when even this is too much.
PER_MINUTE = 60


def pause(session: Session, key: str, error: FarmError) -> datetime:
    """Nothing is said to the host, or for the source, until the moment that is returned.

    As long as the error asks for (fact `until`), else twice as long with each failure in a row.
    """
    now = clock.now()
    row = session.get(AnswerPause, key) or AnswerPause(key=key, since=now, failures=0)
    row.failures += 1
    row.code, row.sentence = error.code, str(error)
    asked = error.facts.get("until")
    row.until = asked if isinstance(asked, datetime) else now + pause_after(row.failures)
    session.add(row)
    return row.until


def end_pauses(session: Session, *keys: str) -> None:
    """They answered."""
    session.execute(delete(AnswerPause).where(AnswerPause.key.in_(keys)))


def paused(session: Session) -> set[str]:
    """The hosts and sources that are left alone now."""
    return set(session.scalars(select(AnswerPause.key).where(AnswerPause.until > clock.now())))


def is_spent(session: Session, host: str) -> bool:
    """Whether the host was told all that it is told in a minute."""
    recent = select(func.count()).where(
        Answer.host == host, Answer.state == "sent", Answer.settled_at > clock.now() - timedelta(minutes=1)
    )
    return session.execute(recent).scalar_one() >= PER_MINUTE
