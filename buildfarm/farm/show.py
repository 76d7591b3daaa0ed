"""What people see of builds and jobs: frozen read models, used by the API and the dashboard alike."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from buildfarm.db import keyset
from buildfarm.errors import NotFound
from buildfarm.farm.difference import Difference, since_good
from buildfarm.farm.failures import next_step
from buildfarm.farm.model import Artifact, Attempt, Build, Builder, Dependency, Job
from buildfarm.farm.rules import State
from buildfarm.sources.model import Source


@dataclass(frozen=True)
class JobMark:
    """One square of a build's strip."""

    id: str
    target: str
    state: str
    required: bool


@dataclass(frozen=True)
class BuildRow:
    """A build as lists show it; `failure_class` and `next_step` tell what ended it and what to do then.

    `pull_request` is the number of the one whose stage, the `channel`, gets its files.
    """

    id: str
    number: int
    source: str
    trigger: str
    ref: str
    commit: str | None
    title: str | None
    actor: str | None
    delivery_id: str | None
    compares_id: str | None
    rebuilds_id: str | None
    wheel_build: int | None
    wave_id: str | None
    pull_request: int | None
    recipe: str | None
    channel: str
    project: str | None
    version: str | None
    state: str
    cause: str | None
    failure_class: str | None
    first_error: str | None
    next_step: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    jobs: tuple[JobMark, ...]


@dataclass(frozen=True)
class ArtifactRow:
    """A file an attempt produced; size in bytes."""

    filename: str
    sha256: str
    size: int


@dataclass(frozen=True)
class DependencyRow:
    """A file that the farm served to an attempt; `ecosystem` is `pypi`, `cargo` or `golang`."""

    filename: str
    ecosystem: str
    sha256: str
    project: str
    version: str
    origin: str


@dataclass(frozen=True)
class JobRow(JobMark):
    """A job with what its current attempt produced and read; `attempt` is the current number.

    `error_line` is the line of that attempt's log that tells why it failed, `next_step` what to do then.
    Where `answered_by` names another job, that one had the same input and ran; its files and what it read
    stand here. `execution` is `native`, `emulated` or `cross`, and null before the first attempt.
    """

    build_id: str
    answered_by: str | None
    cause: str | None
    failure_class: str | None
    phase: str | None
    first_error: str | None
    error_line: int | None
    next_step: str | None
    attempt: int
    execution: str | None
    queue: str
    build_image: str | None
    test_image: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    deadline_at: datetime | None
    artifacts: tuple[ArtifactRow, ...]
    dependencies: tuple[DependencyRow, ...]


@dataclass(frozen=True)
class BuildDetail(BuildRow):
    """A build with its whole jobs; the digests name the recipe and the snapshot it was built from.

    `not_followed` are sentences: what the project's own configuration asks for and does not get here.
    """

    jobs: tuple[JobRow, ...]
    recipe_path: str | None
    recipe_sha256: str | None
    not_followed: tuple[str, ...]
    snapshot_sha256: str | None
    cancel_requested_at: datetime | None
    superseded_by: str | None


@dataclass(frozen=True)
class PhaseRow:
    """How long a phase of an attempt took; `cpu_seconds` where the builder could measure it."""

    phase: str
    seconds: float
    cpu_seconds: float | None
    exit_code: int | None


@dataclass(frozen=True)
class AttemptRow:
    """One try of a job; `log_bytes` is the size of its log as stored, `phases` what the builder reported."""

    number: int
    builder: str
    execution: str
    state: str
    cause: str | None
    failure_class: str | None
    first_error: str | None
    error_line: int | None
    next_step: str | None
    phase: str | None
    started_at: datetime
    finished_at: datetime | None
    log_bytes: int
    log_lines: int
    log_sha256: str | None
    phases: list[PhaseRow]


@dataclass(frozen=True)
class JobDetail:
    """A job, its build in one line, its attempts from the first on.

    `since_good` is there for a job that ended badly, when one like it went well before.
    """

    job: JobRow
    build_number: int
    source: str
    ref: str
    commit: str | None
    attempts: tuple[AttemptRow, ...]
    since_good: Difference | None


def list_builds(
    session: Session,
    *,
    source: str | None = None,
    state: str | None = None,
    delivery_id: str | None = None,
    before: str | None = None,
    limit: int = 50,
) -> tuple[list[BuildRow], str | None]:
    """Builds, the newest first, and the id to ask on with as `before` (None on the last page)."""
    query = _builds()
    if source:
        query = query.where(Source.name == source)
    if state:
        query = query.where(Build.state == state)
    if delivery_id:
        query = query.where(Build.delivery_id == delivery_id)
    if before:
        query = query.where(Build.id < before)
    found = session.execute(query.order_by(Build.id.desc()).limit(limit + 1)).all()
    rows, following = keyset.cut([(row.Build, row.name) for row in found], limit, lambda row: row[0].id)
    marks = _marks(session, [build.id for build, _ in rows])
    return [BuildRow(**_facts(build, name), jobs=tuple(marks[build.id])) for build, name in rows], following


def latest_builds(
    session: Session, source_ids: Collection[str], *, each: int = 10
) -> dict[str, list[BuildRow]]:
    """The last builds of each source by its id, the newest first: a source's strip."""
    last = select(func.max(Build.number)).where(Build.source_id == Source.id).scalar_subquery()
    newest = select(Source.id, last.label("number")).where(Source.id.in_(source_ids)).subquery()
    # The numbers of a source's builds have no gaps.
    is_new = (Build.source_id == newest.c.id) & (Build.number > newest.c.number - each)
    found = session.execute(_builds().join(newest, is_new).order_by(Build.number.desc())).all()
    marks = _marks(session, [row.Build.id for row in found])
    strips: dict[str, list[BuildRow]] = {source_id: [] for source_id in source_ids}
    for build, name in found:
        strips[build.source_id].append(BuildRow(**_facts(build, name), jobs=tuple(marks[build.id])))
    return strips


def build_detail(session: Session, build_id: str) -> BuildDetail:
    """One build with everything below it.

    Raises:
        NotFound: `build.unknown`.
    """
    row = session.execute(_builds().where(Build.id == build_id)).first()
    if row is None:
        raise NotFound(f"There is no build {build_id}.", code="build.unknown")
    build: Build = row.Build
    jobs = list(session.scalars(select(Job).where(Job.build_id == build_id).order_by(Job.target)))
    return BuildDetail(
        **_facts(build, row.name),
        jobs=tuple(_job_rows(session, jobs)),
        recipe_path=build.recipe_path,
        recipe_sha256=build.recipe_sha256,
        not_followed=tuple(build.not_followed or ()),
        snapshot_sha256=build.snapshot_sha256,
        cancel_requested_at=build.cancel_requested_at,
        superseded_by=build.superseded_by,
    )


def job_detail(session: Session, job_id: str) -> JobDetail:
    """One job with its attempts.

    Raises:
        NotFound: `job.unknown`.
    """
    job = session.get(Job, job_id)
    if job is None:
        raise NotFound(f"There is no job {job_id}.", code="job.unknown")
    build = session.execute(_builds().where(Build.id == job.build_id)).one()
    attempts = session.execute(
        select(Attempt, Builder.name)
        .join(Builder, Builder.id == Attempt.builder_id)
        .where(Attempt.job_id == job_id)
        .order_by(Attempt.number)
    )
    return JobDetail(
        job=_job_rows(session, [job])[0],
        build_number=build.Build.number,
        source=build.name,
        ref=build.Build.ref,
        commit=build.Build.commit,
        attempts=tuple(_attempt_row(row.Attempt, row.name) for row in attempts),
        since_good=since_good(session, job) if job.state in {State.FAILED, State.TIMED_OUT} else None,
    )


def _builds() -> Select[Build, str]:
    return select(Build, Source.name).join(Source, Source.id == Build.source_id)


def _facts(build: Build, source: str) -> dict[str, Any]:
    """What a row and a detail have in common, by field."""
    same = (
        "id", "number", "trigger", "ref", "commit", "title", "actor", "delivery_id", "compares_id",
        "rebuilds_id", "wheel_build", "wave_id", "channel", "project", "version", "state", "cause",
        "failure_class", "first_error", "created_at", "started_at", "finished_at",
    )  # fmt: skip
    derived = {
        "source": source,
        "recipe": build.recipe_name,
        "pull_request": build.pull_request.number if build.pull_request else None,
        "next_step": next_step(build.failure_class),
    }
    return {name: getattr(build, name) for name in same} | derived


def _marks(session: Session, build_ids: list[str]) -> dict[str, list[JobMark]]:
    marks: dict[str, list[JobMark]] = defaultdict(list)
    found = session.execute(
        select(Job.build_id, Job.id, Job.target, Job.state, Job.required)
        .where(Job.build_id.in_(build_ids))
        .order_by(Job.target)
    )
    for build_id, job_id, target, state, required in found:
        marks[build_id].append(JobMark(job_id, target, state, required))
    return marks


def _job_rows(session: Session, jobs: list[Job]) -> list[JobRow]:
    current = {job.ran.id: job.ran.attempt for job in jobs}
    artifacts: dict[str, list[ArtifactRow]] = defaultdict(list)
    dependencies: dict[str, list[DependencyRow]] = defaultdict(list)
    for made in session.scalars(
        select(Artifact).where(Artifact.job_id.in_(current)).order_by(Artifact.filename)
    ):
        if made.attempt == current[made.job_id]:
            artifacts[made.job_id].append(ArtifactRow(made.filename, made.sha256, made.size))
    for read in session.scalars(
        select(Dependency).where(Dependency.job_id.in_(current)).order_by(Dependency.filename)
    ):
        if read.attempt == current[read.job_id]:
            dependencies[read.job_id].append(
                DependencyRow(
                    read.filename, read.ecosystem, read.sha256, read.project, read.version, read.origin
                )
            )
    return [
        JobRow(
            id=job.id,
            build_id=job.build_id,
            target=job.target,
            required=job.required,
            answered_by=job.answered_by_id,
            state=job.state,
            cause=job.cause,
            failure_class=job.failure_class,
            phase=job.phase,
            first_error=job.first_error,
            error_line=job.error_line,
            next_step=next_step(job.failure_class),
            attempt=job.attempt,
            execution=job.ran.execution,
            queue=job.queue,
            build_image=job.spec.get("build_image"),
            test_image=job.spec.get("test_image"),
            created_at=job.created_at,
            started_at=job.started_at,
            finished_at=job.finished_at,
            deadline_at=job.deadline_at,
            artifacts=tuple(artifacts[job.ran.id]),
            dependencies=tuple(dependencies[job.ran.id]),
        )
        for job in jobs
    ]


def _attempt_row(attempt: Attempt, builder: str) -> AttemptRow:
    outcome = attempt.outcome or {}
    return AttemptRow(
        number=attempt.number,
        builder=builder,
        execution=attempt.execution,
        state=attempt.state,
        cause=outcome.get("cause"),
        failure_class=outcome.get("failure_class"),
        first_error=outcome.get("first_error"),
        error_line=outcome.get("error_line"),
        next_step=next_step(outcome.get("failure_class")),
        phase=outcome.get("phase"),
        started_at=attempt.started_at,
        finished_at=attempt.finished_at,
        log_bytes=attempt.log_bytes,
        log_lines=attempt.log_lines,
        log_sha256=attempt.log_sha256,
        phases=[
            PhaseRow(report["phase"], report["seconds"], report["cpu_seconds"], report["exit_code"])
            for report in (attempt.outcome or {}).get("phases", [])
        ],
    )
