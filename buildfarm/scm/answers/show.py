"""What people see of the outbox: of a build, of a source, of the whole farm."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from buildfarm import clock
from buildfarm.scm.answers.model import Answer, AnswerPause
from buildfarm.scm.forges.model import ForgeAccess
from buildfarm.sources.model import Source


@dataclass(frozen=True)
class AnswerRow:
    """One thing that the SCM was told, or is to be told; `why` says why it waits, or was refused."""

    kind: str
    context: str
    outcome: str
    description: str
    commit: str
    state: str
    why: str
    noted_at: datetime
    settled_at: datetime | None


@dataclass(frozen=True)
class AnsweringRow:
    """How a source answers its SCM, without the token.

    `waiting` things are to be told, the oldest since `waiting_since`; `trouble` says why nothing goes out,
    `again_at` when it is tried next; `refused` counts what the SCM would not have.
    """

    api_url: str
    app_id: str | None
    hook_id: str | None
    created_at: datetime
    last_used_at: datetime | None
    waiting: int
    waiting_since: datetime | None
    last_sent_at: datetime | None
    refused: int
    last_refusal: str | None
    trouble: str | None
    again_at: datetime | None


@dataclass(frozen=True)
class Backlog:
    """What waits for all SCMs: how much, since when, and the sentences of those that are left alone."""

    waiting: int
    oldest_s: float
    troubles: tuple[str, ...]


def answers_of_build(session: Session, build_id: str) -> list[AnswerRow]:
    """What was said of a build and what waits, in order."""
    rows = session.scalars(select(Answer).where(Answer.build_id == build_id).order_by(Answer.id)).all()
    pauses = _pauses(session) if any(row.state == "waiting" for row in rows) else {}
    return [
        AnswerRow(
            kind=row.kind,
            context=row.context,
            outcome=row.outcome,
            description=row.description,
            commit=row.commit,
            state=row.state,
            why=_why(row, pauses),
            noted_at=row.noted_at,
            settled_at=row.settled_at,
        )
        for row in rows
    ]


def answering(session: Session, source_id: str) -> AnsweringRow | None:
    """How the source answers; None where the farm has no token for its SCM."""
    access = session.get(ForgeAccess, source_id)
    if access is None:
        return None
    mine = Answer.source_id == source_id
    waiting = session.execute(
        select(func.count(), func.min(Answer.noted_at)).where(mine, Answer.state == "waiting")
    ).one()
    sent = select(func.max(Answer.settled_at)).where(mine, Answer.state == "sent")
    refused = select(func.count(), func.max(Answer.id)).where(mine, Answer.state == "refused")
    count, last = session.execute(refused).one()
    pauses = _pauses(session)
    pause = pauses.get(access.host) or pauses.get(source_id)
    return AnsweringRow(
        api_url=access.api_url,
        app_id=access.app_id,
        hook_id=access.hook_id,
        created_at=access.created_at,
        last_used_at=access.last_used_at,
        waiting=waiting[0],
        waiting_since=waiting[1],
        last_sent_at=session.execute(sent).scalar_one(),
        refused=count,
        last_refusal=session.get_one(Answer, last).error if last else None,
        trouble=pause.sentence if pause else None,
        again_at=pause.until if pause else None,
    )


def backlog(session: Session) -> Backlog:
    """What waits for all SCMs."""
    count, oldest = session.execute(
        select(func.count(), func.min(Answer.noted_at)).where(Answer.state == "waiting")
    ).one()
    pauses = sorted(_pauses(session).items())
    named = session.execute(select(Source.id, Source.name).where(Source.id.in_([key for key, _ in pauses])))
    names = {row.id: row.name for row in named}
    troubles = [f"{names.get(key, key)}: {pause.sentence}" for key, pause in pauses]
    age = (clock.now() - oldest).total_seconds() if oldest else 0.0
    return Backlog(count, max(age, 0.0), tuple(troubles))


def _pauses(session: Session) -> dict[str, AnswerPause]:
    return {row.key: row for row in session.scalars(select(AnswerPause))}


def _why(row: Answer, pauses: dict[str, AnswerPause]) -> str:
    if row.state != "waiting":
        return row.error or ""
    pause = pauses.get(row.host) or pauses.get(row.source_id)
    return pause.sentence if pause else "It is sent next."
