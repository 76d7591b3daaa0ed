"""Tables of the farm: builds, jobs, attempts, logs, control tasks, builders, images, leases."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, ForeignKeyConstraint, Index, Text, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from buildfarm.db.types import Base, Serial
from buildfarm.sources.model import PullRequest

_OUTBOX = "handed_over_at IS NULL AND kept_by_id IS NULL"


def _partial(name: str, *columns: str, where: str) -> Index:
    return Index(name, *columns, sqlite_where=text(where), postgresql_where=text(where))


class Work:
    """What RQ carries by id: a row in `queued` with `handed_over_at` empty is the outbox.

    `attempt` fences late writers, `hand_over` counts trips through Redis (losing Redis uses up none
    of the attempts).
    """

    state: Mapped[str]
    queue: Mapped[str]
    attempt: Mapped[int]
    hand_over: Mapped[int]
    handed_over_at: Mapped[datetime | None]
    heartbeat_at: Mapped[datetime | None]
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]


class Build(Base):
    """All work for one commit and one recipe; its state is the fold of its jobs.

    `not_followed` are sentences: what the project's own configuration asks for and does not get here.
    A `fresh` one has every job run, whatever was made of the same input before.
    """

    __tablename__ = "build"
    __table_args__ = (
        UniqueConstraint("source_id", "number"),
        Index("ix_build_collapse", "source_id", "commit"),
        Index("ix_build_snapshot", "source_id", "snapshot_sha256"),
        Index("ix_build_release", "project", "version"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[int]
    source_id: Mapped[str] = mapped_column(ForeignKey("source.id"), index=True)
    delivery_id: Mapped[str | None] = mapped_column(ForeignKey("delivery.id"), index=True)
    #: The build that this one repeats to compare the files; such a build publishes nothing.
    compares_id: Mapped[str | None] = mapped_column(ForeignKey("build.id"), index=True)
    #: The published build that this one makes again with what the farm has now; see `index.rebuilds`.
    rebuilds_id: Mapped[str | None] = mapped_column(ForeignKey("build.id"), index=True)
    #: The build number in the names of its wheels.
    wheel_build: Mapped[int | None]
    #: The wave that asked for it.
    wave_id: Mapped[str | None] = mapped_column(index=True)
    #: The pull request whose stage gets its files; see `farm.pulls`.
    pull_request_id: Mapped[str | None] = mapped_column(ForeignKey("pull_request.id"), index=True)
    trigger: Mapped[str]
    fresh: Mapped[bool] = mapped_column(default=False)
    ref: Mapped[str]
    commit: Mapped[str | None]
    title: Mapped[str | None]
    actor: Mapped[str | None]
    recipe_name: Mapped[str | None]
    recipe_path: Mapped[str | None]
    recipe_sha256: Mapped[str | None]
    recipe: Mapped[dict[str, Any] | None]
    not_followed: Mapped[list[Any] | None]
    snapshot_sha256: Mapped[str | None]
    commit_time: Mapped[int | None] = mapped_column(BigInteger)
    channel: Mapped[str]
    project: Mapped[str | None]
    version: Mapped[str | None]
    state: Mapped[str] = mapped_column(index=True)
    cause: Mapped[str | None]
    failure_class: Mapped[str | None]
    first_error: Mapped[str | None] = mapped_column(Text)
    cancel_requested_at: Mapped[datetime | None]
    superseded_by: Mapped[str | None] = mapped_column(ForeignKey("build.id"))
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    jobs: Mapped[list[Job]] = relationship(back_populates="build", order_by="Job.target")
    pull_request: Mapped[PullRequest | None] = relationship(lazy="selectin")


class Job(Work, Base):
    """One target of a build. `spec` is what a builder is told, without anything secret.

    `error_line` is the number of the line in the log of the last attempt that tells why it failed.
    `source_id` is its build's and `urgency` its queue's class as a number: dispatch asks by both.
    `input_sha256` is over all that decides its output but the index (`buildfarm.farm.equal`). Where that was
    built before, the job did not run: `answered_by` is the one that did, and whose files are its files.
    `execution` is its last attempt's (`buildfarm.farm.machines`).
    `memory_need` is the bytes of its host's memory that earlier jobs teach it to need, `memory_peak` what its
    last attempt used; `kept_by_id` is the builder that keeps room for it (`buildfarm.farm.packing`).
    """

    __tablename__ = "job"
    __table_args__ = (
        UniqueConstraint("build_id", "target"),
        Index("ix_job_state", "state", "finished_at"),
        Index("ix_job_with_builders", "source_id", "state", "handed_over_at"),
        _partial("ix_job_outbox", "state", "queue", "source_id", "id", where=_OUTBOX),
        _partial("ix_job_handed_over", "queue", where="state = 'queued' AND handed_over_at IS NOT NULL"),
        _partial("ix_job_kept", "state", "kept_by_id", where="kept_by_id IS NOT NULL"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    build_id: Mapped[str] = mapped_column(ForeignKey("build.id"), index=True)
    source_id: Mapped[str] = mapped_column(ForeignKey("source.id"))
    urgency: Mapped[int]
    target: Mapped[str]
    required: Mapped[bool]
    spec: Mapped[dict[str, Any]]
    cause: Mapped[str | None]
    failure_class: Mapped[str | None]
    phase: Mapped[str | None]
    first_error: Mapped[str | None] = mapped_column(Text)
    error_line: Mapped[int | None]
    deadline_at: Mapped[datetime | None]
    input_sha256: Mapped[str | None]
    execution: Mapped[str | None]
    answered_by_id: Mapped[str | None] = mapped_column(ForeignKey("job.id"), index=True)
    memory_need: Mapped[int | None] = mapped_column(BigInteger)
    memory_peak: Mapped[int | None] = mapped_column(BigInteger)
    kept_by_id: Mapped[str | None] = mapped_column(ForeignKey("builder.id"))
    build: Mapped[Build] = relationship(back_populates="jobs")
    answered_by: Mapped[Job | None] = relationship(remote_side="Job.id")

    @property
    def ran(self) -> Job:
        """The job whose attempt made its files: itself, or the one that answered it."""
        return self.answered_by or self


class Attempt(Base):
    """One try of a job on one builder; its token is good for this try alone."""

    __tablename__ = "attempt"

    job_id: Mapped[str] = mapped_column(ForeignKey("job.id"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    builder_id: Mapped[str] = mapped_column(ForeignKey("builder.id"))
    token_digest: Mapped[str] = mapped_column(unique=True)
    state: Mapped[str]
    execution: Mapped[str]
    started_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]
    log_bytes: Mapped[int]
    log_lines: Mapped[int]
    log_sha256: Mapped[str | None]
    outcome: Mapped[dict[str, Any] | None]


class LogSegment(Base):
    """Whole lines of one phase, at most 64 KB, with a time for each line (epoch milliseconds).

    `start` is the offset in the log as stored (masked); `received` the offset in what the builder
    sent, which is what a resend is recognised by.
    """

    __tablename__ = "log_segment"
    __table_args__ = (ForeignKeyConstraint(["job_id", "attempt"], ["attempt.job_id", "attempt.number"]),)

    job_id: Mapped[str] = mapped_column(primary_key=True)
    attempt: Mapped[int] = mapped_column(primary_key=True)
    start: Mapped[int] = mapped_column(primary_key=True)
    received: Mapped[int]
    size: Mapped[int]
    received_size: Mapped[int]
    line: Mapped[int]
    phase: Mapped[str]
    text: Mapped[str] = mapped_column(Text)
    times: Mapped[list[Any]]


class Artifact(Base):
    """A file an attempt produced; invisible to clients until its build is published."""

    __tablename__ = "artifact"
    __table_args__ = (ForeignKeyConstraint(["job_id", "attempt"], ["attempt.job_id", "attempt.number"]),)

    job_id: Mapped[str] = mapped_column(primary_key=True)
    attempt: Mapped[int] = mapped_column(primary_key=True)
    filename: Mapped[str] = mapped_column(primary_key=True)
    sha256: Mapped[str]
    size: Mapped[int]


class Dependency(Base):
    """A file that the farm served to an attempt: what provenance lists as build dependency.

    `ecosystem` is the type of its package URL: `pypi`, `cargo` or `golang`.
    """

    __tablename__ = "dependency"
    __table_args__ = (ForeignKeyConstraint(["job_id", "attempt"], ["attempt.job_id", "attempt.number"]),)

    job_id: Mapped[str] = mapped_column(primary_key=True)
    attempt: Mapped[int] = mapped_column(primary_key=True)
    filename: Mapped[str] = mapped_column(primary_key=True)
    ecosystem: Mapped[str]
    sha256: Mapped[str]
    project: Mapped[str]
    version: Mapped[str]
    origin: Mapped[str]
    served_at: Mapped[datetime]


class IndexAnswer(Base):
    """A page or document that the farm's index showed to an attempt, as a digest of its bytes.

    `ecosystem` is as in `Dependency`, `asked` the name or path in it. `sha256` is empty where there was
    nothing of that name, None where the answer changed while the attempt ran.
    """

    __tablename__ = "index_answer"
    __table_args__ = (ForeignKeyConstraint(["job_id", "attempt"], ["attempt.job_id", "attempt.number"]),)

    job_id: Mapped[str] = mapped_column(primary_key=True)
    attempt: Mapped[int] = mapped_column(primary_key=True)
    ecosystem: Mapped[str] = mapped_column(primary_key=True)
    asked: Mapped[str] = mapped_column(primary_key=True)
    sha256: Mapped[str | None]


class Comparison(Base):
    """One file of a build, made a second time by the build `build_id`, which compares.

    `rebuilt_*` are empty where the second build did not make the file; `differences` are the members of
    the two archives that differ, as `buildfarm.wheels.differences` tells them.
    """

    __tablename__ = "comparison"

    build_id: Mapped[str] = mapped_column(ForeignKey("build.id"), primary_key=True)
    filename: Mapped[str] = mapped_column(primary_key=True)
    sha256: Mapped[str] = mapped_column(index=True)
    job_id: Mapped[str]
    attempt: Mapped[int]
    builder: Mapped[str]
    rebuilt_sha256: Mapped[str | None]
    rebuilt_job_id: Mapped[str | None]
    rebuilt_attempt: Mapped[int | None]
    rebuilt_builder: Mapped[str | None]
    is_equal: Mapped[bool]
    differences: Mapped[list[Any]]
    compared_at: Mapped[datetime]


class Task(Work, Base):
    """Control work for one subject: `fetch`, `publish` or `compare` of a build, or a word with an SCM.

    That is `notify` of a host, the order of a `hook`, `watch` of a source's, or a look at a
    repository that is an `offer`.
    """

    __tablename__ = "task"
    __table_args__ = (
        UniqueConstraint("kind", "subject"),
        Index("ix_task_outbox", "state", "handed_over_at", "id"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str]
    subject: Mapped[str] = mapped_column(index=True)
    error: Mapped[str | None] = mapped_column(Text)


class Builder(Base):
    """A host process that runs attempts; known by its token, trusted with nothing else.

    `facts` are what it says about itself: its queues, its slots, what its self-test found. A drained one
    takes nothing more. `machine` is the one that its host joined as (`x86_64`), `emulates` are others that
    it was set up to emulate.
    """

    __tablename__ = "builder"

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    token_id: Mapped[str] = mapped_column(ForeignKey("token.id"))
    tiers: Mapped[list[Any]]
    machine: Mapped[str | None]
    emulates: Mapped[list[Any]]
    created_at: Mapped[datetime]
    seen_at: Mapped[datetime | None]
    drained_at: Mapped[datetime | None]
    facts: Mapped[dict[str, Any]]


class Pause(Base):
    """While the row `dispatch` is here no job is handed to a builder."""

    __tablename__ = "pause"

    name: Mapped[str] = mapped_column(primary_key=True)
    since: Mapped[datetime]
    actor: Mapped[str]
    reason: Mapped[str] = mapped_column(Text)


class Image(Base):
    """A container image that builds may use, pinned by its id.

    `toolchain` is the compiler that recipes must ask for; `machine` its own, where it builds for another.
    Its archive (`buildfarm.farm.archives`) is kept for builders whose engine lacks it, where there are any.
    """

    __tablename__ = "image"

    image_id: Mapped[str] = mapped_column(primary_key=True)
    platform: Mapped[str]
    role: Mapped[str]
    suite: Mapped[str]
    interpreters: Mapped[list[Any]]
    toolchain: Mapped[str | None]
    machine: Mapped[str | None]
    registered_at: Mapped[datetime]
    retired_at: Mapped[datetime | None]
    archive_sha256: Mapped[str | None]
    archive_bytes: Mapped[int | None] = mapped_column(Serial)


class Lease(Base):
    """A role that one holder has at a time; `since` when it has been held, without a gap."""

    __tablename__ = "lease"

    name: Mapped[str] = mapped_column(primary_key=True)
    holder: Mapped[str]
    until: Mapped[datetime]
    since: Mapped[datetime]
