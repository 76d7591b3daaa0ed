"""What people see of the looks that workers take at hooks."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from buildfarm.scm.forges.model import ForgeAccess
from buildfarm.scm.hooking.model import HookHealing, HookWatch
from buildfarm.sources.model import Source

_NEWEST = 5


@dataclass(frozen=True)
class Healed:
    """Something that was put right: `kind` is `resumed` or `sent_again`, `deliveries` how many were."""

    at: datetime
    kind: str
    sentence: str
    deliveries: int


@dataclass(frozen=True)
class Watched:
    """How the hook was when a worker last looked by itself, and what was healed, the newest first.

    `problem` is null when all was well, `looked_at` when nobody has looked so far; `code` is the error's
    where the SCM could not be asked.
    """

    looked_at: datetime | None
    next_look_at: datetime | None
    problem: str | None
    code: str | None
    healed: tuple[Healed, ...]


def watched(session: Session, source_id: str) -> Watched | None:
    """How a source's hook does; None where the farm has no token to ask its SCM with."""
    if session.get(ForgeAccess, source_id) is None:
        return None
    row = session.get(HookWatch, source_id)
    newest = (
        select(HookHealing)
        .where(HookHealing.source_id == source_id)
        .order_by(HookHealing.id.desc())
        .limit(_NEWEST)
    )
    return Watched(
        looked_at=row.looked_at if row else None,
        next_look_at=row.next_at if row else None,
        problem=row.problem if row else None,
        code=row.code if row else None,
        healed=tuple(
            Healed(one.at, one.kind, one.sentence, len(one.carried)) for one in session.scalars(newest)
        ),
    )


def unwell(session: Session) -> dict[str, str]:
    """What is wrong with hooks, by the names of their sources."""
    rows = session.execute(
        select(Source.name, HookWatch.problem)
        .join(HookWatch, HookWatch.source_id == Source.id)
        .join(ForgeAccess, ForgeAccess.source_id == Source.id)
        .where(HookWatch.problem.is_not(None))
        .order_by(Source.name)
    )
    return {name: problem for name, problem in rows if problem}
