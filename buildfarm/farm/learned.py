"""What earlier jobs of a source teach of the next ones: how long each target takes."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from buildfarm.farm.model import Build, Job
from buildfarm.farm.rules import State

#: Builds of the source that are looked at, the newest first.
_BUILDS = 20


def seconds_by_target(session: Session, source_id: str) -> dict[str, float]:
    """Seconds that the last good job of each target took, from its first claim to its end."""
    recent = (
        select(Build.id)
        .where(Build.source_id == source_id)
        .order_by(Build.number.desc())
        .limit(_BUILDS)
        .subquery()
    )
    rows = session.execute(
        select(Job.target, Job.started_at, Job.finished_at)
        .where(Job.build_id.in_(select(recent.c.id)), Job.state == State.SUCCEEDED)
        .where(Job.started_at.is_not(None), Job.finished_at.is_not(None))
        .order_by(Job.id)
    )
    return {row.target: (row.finished_at - row.started_at).total_seconds() for row in rows}
