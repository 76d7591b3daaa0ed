"""What earlier jobs of a source teach of the next ones: how long each target takes, what memory it needs."""

from __future__ import annotations

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from buildfarm.farm.model import Build, Job
from buildfarm.farm.rules import State

#: Builds of the source that are looked at, the newest first.
_BUILDS = 20
#: What a job is given beyond the most that its like have used.
_HEADROOM = 1.25


def seconds_by_target(session: Session, source_id: str) -> dict[str, float]:
    """Seconds that the last good job of each target took, from its first claim to its end."""
    rows = session.execute(
        select(Job.target, Job.started_at, Job.finished_at)
        .where(Job.build_id.in_(_recent(source_id)), Job.state == State.SUCCEEDED)
        .where(Job.started_at.is_not(None), Job.finished_at.is_not(None))
        .order_by(Job.id)
    )
    return {row.target: (row.finished_at - row.started_at).total_seconds() for row in rows}


def memory_by_target(session: Session, source_id: str) -> dict[str, int]:
    """Bytes of memory that a job of each target is expected to need: the most one used, and some more.

    How it ended plays no part: what ended for want of memory had used all that it was given.
    """
    rows = session.execute(
        select(Job.target, func.max(Job.memory_peak).label("peak"))
        .where(Job.build_id.in_(_recent(source_id)), Job.memory_peak.is_not(None))
        .group_by(Job.target)
    )
    return {row.target: int(row.peak * _HEADROOM) for row in rows}


def _recent(source_id: str) -> Select[tuple[str]]:
    recent = select(Build.id).where(Build.source_id == source_id).order_by(Build.number.desc()).limit(_BUILDS)
    return select(recent.subquery().c.id)
