"""Builds that repeat another one, to see whether the same inputs give the same bytes.

Such a build has the snapshot, the recipe and the images of the first one, and reads of the index what the
first one was served. It publishes nothing; what it found is one row for each file of the first build.
"""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from buildfarm import clock
from buildfarm.errors import Conflict, NotFound
from buildfarm.farm import builds, jobs
from buildfarm.farm.model import Attempt, Build, Dependency, Job
from buildfarm.farm.rules import State
from buildfarm.ids import new_id

#: The trigger of such builds.
TRIGGER = "compare"


def start(session: Session, build_id: str, *, actor: str) -> Build:
    """A build that repeats the successful jobs of another one.

    Raises:
        NotFound: `build.unknown`.
        Conflict: `comparison.not_built`, that build has no files, compares itself, or is of a pull request.
    """
    first = builds.get(session, build_id)
    if first.compares_id or first.pull_request or State(first.state) not in {State.BUILT, State.PUBLISHED}:
        what = "compares another build" if first.compares_id else f"is {first.state}"
        what = "is of a pull request" if first.pull_request else what
        raise Conflict(
            f"Build {build_id} {what}; what was built or published can be compared.",
            code="comparison.not_built",
        )
    builds.hold_source(session, first.source_id)
    same = (
        "source_id", "ref", "commit", "title", "recipe_name", "recipe_path", "recipe_sha256", "recipe",
        "not_followed", "snapshot_sha256", "commit_time", "channel", "project", "version",
    )  # fmt: skip
    build = Build(
        id=new_id("bld"),
        number=builds.next_number(session, first.source_id),
        trigger=TRIGGER,
        fresh=True,
        compares_id=first.id,
        actor=actor,
        state=State.QUEUED,
        created_at=clock.now(),
        **{name: getattr(first, name) for name in same},
    )
    session.add(build)
    session.flush()
    for job in first.jobs:
        if job.state == State.SUCCEEDED:
            session.add(_again(job, build))
    return build


def first_of(session: Session, job: Job) -> Job | None:
    """The job that this one repeats, the one that ran; None where it repeats none."""
    first = select(Job).join(Build, Build.compares_id == Job.build_id)
    found = session.scalars(first.where(Build.id == job.build_id, Job.target == job.target)).first()
    return found.ran if found else None


def demand_read_before(session: Session, job: Job, filename: str) -> None:
    """Keep from a job that repeats another one what that one did not read.

    Raises:
        NotFound: `comparison.not_served`.
    """
    first = first_of(session, job)
    if first and session.get(Dependency, (first.id, first.attempt, filename)) is None:
        raise NotFound(f"The first build was not served {filename}.", code="comparison.not_served")


def first_builder(session: Session, job: Job) -> str | None:
    """The id of the builder that made the files which this job makes again; None where it repeats none."""
    first = first_of(session, job)
    return session.get_one(Attempt, (first.id, first.attempt)).builder_id if first else None


def _again(job: Job, build: Build) -> Job:
    _, platform, tier, _ = job.queue.split(".")
    queue = jobs.queue_name(platform, tier, "interactive")
    return Job(
        id=new_id("job"),
        build_id=build.id,
        target=job.target,
        required=job.required,
        # What another build had compiled would prove nothing.
        spec={key: value for key, value in job.spec.items() if key != "compile_cache"},
        memory_need=job.memory_need,
        **jobs.queued_values(build.source_id, queue, build.created_at),
    )
