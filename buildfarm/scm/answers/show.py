"""What people see of the outbox: of a build, of a source, of the whole farm."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from buildfarm import clock
from buildfarm.scm.answers.model import Answer, AnswerPause
from buildfarm.scm.forges.model import ForgeAccess
from buildfarm.sources.model import Source


def _of_source(what: Any, state: str) -> Select[Any]:  # noqa: ANN401 - a column, or a function of one
    return select(what).where(Answer.source_id == ForgeAccess.source_id, Answer.state == state)


_LAST_REFUSAL = _of_source(Answer.error, "refused").order_by(Answer.id.desc()).limit(1)
# Each of these is one look into `ix_answer_state`, for each source that has a token.
_ANSWERING = select(
    ForgeAccess.source_id,
    ForgeAccess.host,
    ForgeAccess.api_url,
    ForgeAccess.app_id,
    ForgeAccess.hook_id,
    ForgeAccess.created_at,
    ForgeAccess.last_used_at,
    _of_source(func.count(), "waiting").scalar_subquery().label("waiting"),
    _of_source(func.min(Answer.noted_at), "waiting").scalar_subquery().label("waiting_since"),
    _of_source(func.max(Answer.settled_at), "sent").scalar_subquery().label("last_sent_at"),
    _of_source(func.count(), "refused").scalar_subquery().label("refused"),
    _LAST_REFUSAL.scalar_subquery().label("last_refusal"),
)


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
    `code` says it for scripts, `again_at` when it is tried next; `refused` counts what the SCM would not
    have.
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
    code: str | None
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


def answering(session: Session, source_ids: Collection[str]) -> dict[str, AnsweringRow]:
    """How sources answer, by their ids; without those for whose SCM the farm has no token."""
    known = session.execute(_ANSWERING.where(ForgeAccess.source_id.in_(source_ids))).all()
    pauses = _pauses(session) if known else {}
    found = {}
    for row in known:
        facts = dict(row._mapping)
        source_id, host = facts.pop("source_id"), facts.pop("host")
        pause = pauses.get(host) or pauses.get(source_id)
        found[source_id] = AnsweringRow(
            **facts,
            trouble=pause.sentence if pause else None,
            code=pause.code if pause else None,
            again_at=pause.until if pause else None,
        )
    return found


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
