"""What somebody needs to run an attempt again elsewhere: its plan, what it read, how it ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from buildfarm.errors import Conflict, NotFound
from buildfarm.farm.model import Artifact, Attempt, Dependency, Job
from buildfarm.farm.rules import State
from buildfarm.farm.show import ArtifactRow, DependencyRow


@dataclass(frozen=True)
class AttemptPlan:
    """An attempt that has ended; `spec` is what its builder was told, the rest how it went there."""

    spec: dict[str, Any]
    state: str
    cause: str | None
    failure_class: str | None
    first_error: str | None
    phase: str | None
    artifacts: tuple[ArtifactRow, ...]
    dependencies: tuple[DependencyRow, ...]


def plan_of(session: Session, job_id: str, number: int) -> AttemptPlan:
    """The plan of an attempt.

    Raises:
        NotFound, Conflict: as for `ended`.
    """
    job, attempt = ended(session, job_id, number)
    outcome = attempt.outcome or {}
    read = select(Dependency).where(Dependency.job_id == job_id, Dependency.attempt == number)
    made = select(Artifact).where(Artifact.job_id == job_id, Artifact.attempt == number)
    return AttemptPlan(
        spec={**job.spec, "job_id": job_id, "attempt": number, "target": job.target},
        state=attempt.state,
        **{key: outcome.get(key) for key in ("cause", "failure_class", "first_error", "phase")},
        artifacts=tuple(
            ArtifactRow(one.filename, one.sha256, one.size)
            for one in session.scalars(made.order_by(Artifact.filename))
        ),
        dependencies=tuple(
            DependencyRow(one.filename, one.ecosystem, one.sha256, one.project, one.version, one.origin)
            for one in session.scalars(read.order_by(Dependency.filename))
        ),
    )


def ended(session: Session, job_id: str, number: int) -> tuple[Job, Attempt]:
    """A job and an attempt of it that has ended.

    Raises:
        NotFound: `attempt.unknown`.
        Conflict: `attempt.running`, there is nothing yet that a run elsewhere could be held against.
    """
    attempt = session.get(Attempt, (job_id, number))
    if attempt is None:
        raise NotFound(f"There is no attempt {number} of a job {job_id}.", code="attempt.unknown")
    if attempt.state == State.RUNNING:
        raise Conflict(f"Attempt {number} of {job_id} has not ended yet.", code="attempt.running")
    return session.get_one(Job, job_id), attempt


def has_read(session: Session, job_id: str, number: int, **wanted: str) -> bool:
    """Whether the farm served to the attempt a file with this `project` (of Python) or `filename`."""
    if "project" in wanted:
        wanted["ecosystem"] = "pypi"
    query = select(Dependency.filename).filter_by(job_id=job_id, attempt=number, **wanted)
    return session.execute(query.limit(1)).first() is not None
