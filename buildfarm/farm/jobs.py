"""The control side of a job's life with its builder: claim, heartbeat, artifacts, inputs, the end.

A builder proves itself with its own token to claim, and from then on with the token of that one
attempt. What it reports decides how a job ends, never what provenance says.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from buildfarm import clock
from buildfarm.access.rules import Principal, require
from buildfarm.access.tokens import digest_of, new_token
from buildfarm.errors import Conflict, InvalidInput, LimitExceeded, NotFound, StaleAttempt, Unauthenticated
from buildfarm.farm import builds, claims, logs, machines
from buildfarm.farm.model import Artifact, Attempt, Build, Builder, Dependency, IndexAnswer, Job
from buildfarm.farm.rules import Cause, State
from buildfarm.farm.wire import CLASSES
from buildfarm.sandbox.failures import FAILURES

#: Beyond the limit that the builder itself keeps: fetching, repairing, sending.
DEADLINE_SLACK = timedelta(minutes=5)


def queue_name(platform: str, tier: str, job_class: str) -> str:
    """`build.manylinux-x86_64.dev.release`: what a worker must be able to do, and how soon."""
    return f"build.{platform}.{tier}.{job_class}"


def queued_values(source_id: str, queue: str, now: datetime) -> dict[str, Any]:
    """The columns of a new job that waits for its first hand-over."""
    urgency = CLASSES.index(queue.rpartition(".")[2])
    return {"source_id": source_id, "urgency": urgency, **claims.queued_values(queue, now)}


@dataclass(frozen=True)
class Claimed:
    """What a builder gets: the spec of the attempt, and a token good for it alone."""

    spec: dict[str, Any]
    token: str


def claim(session: Session, builder: Builder, principal: Principal, job_id: str, number: int) -> Claimed:
    """Give the attempt to this builder.

    Raises:
        NotFound: `job.unknown`.
        Forbidden: the builder's token does not cover the job's tier.
        StaleAttempt: the job is not waiting for this attempt (any more).
    """
    job = session.get(Job, job_id)
    if job is None:
        raise NotFound(f"There is no job {job_id}.", code="job.unknown")
    require(principal, "builder", job.queue.split(".")[2])
    builds.hold(session, job.build_id)
    claims.claim(session, Job, job_id, number)
    now = clock.now()
    execution = machines.executed(job.queue.split(".")[1], builder.machine)
    limits = machines.with_patience(job.spec["limits"], execution)
    job.deadline_at = now + timedelta(seconds=int(limits["seconds"])) + DEADLINE_SLACK
    job.execution = execution
    job.first_error, job.cause, job.phase = None, None, "source"
    job.failure_class, job.error_line, job.kept_by_id = None, None, None
    token = new_token()
    session.add(
        Attempt(
            job_id=job_id,
            number=number,
            builder_id=builder.id,
            token_digest=digest_of(token),
            state=State.RUNNING,
            execution=execution,
            started_at=now,
            log_bytes=0,
            log_lines=0,
        )
    )
    builder.seen_at = now
    builds.settle(session, job.build_id)
    named = {"job_id": job_id, "attempt": number, "target": job.target}
    return Claimed({**job.spec, "limits": limits, **named}, token)


def attempt_of_token(session: Session, value: str) -> tuple[Attempt, Job]:
    """The running attempt that this token is good for.

    Raises:
        Unauthenticated: `attempt.token`, not an attempt's token.
        StaleAttempt: the attempt is over or was replaced.
    """
    row = session.execute(
        select(Attempt, Job)
        .join(Job, Job.id == Attempt.job_id)
        .where(Attempt.token_digest == digest_of(value))
    ).first()
    if row is None:
        raise Unauthenticated("This is no token of an attempt.", code="attempt.token")
    if row.Job.attempt != row.Attempt.number or row.Job.state != State.RUNNING:
        raise StaleAttempt("This attempt is over.", job=row.Job.id)
    return row.Attempt, row.Job


def heartbeat(session: Session, attempt: Attempt, phase: str) -> bool:
    """Renew the claim; False asks the builder to stop.

    Raises:
        StaleAttempt: the attempt was replaced.
    """
    claims.heartbeat(session, Job, attempt.job_id, attempt.number, phase=phase)
    session.execute(update(Builder).where(Builder.id == attempt.builder_id).values(seen_at=clock.now()))
    cancelled = (
        select(Build.cancel_requested_at).join(Job, Job.build_id == Build.id).where(Job.id == attempt.job_id)
    )
    return session.execute(cancelled).scalar_one() is None


def artifact_room(session: Session, attempt: Attempt, job: Job, filename: str, sha256: str) -> int:
    """How many bytes the attempt may still send, asked before they are read.

    Raises:
        Conflict: `artifact.differs`, the name was sent with other bytes.
        LimitExceeded: `artifact.too_many`, the recipe allows no further file.
    """
    sent = {
        row.filename: row
        for row in session.scalars(
            select(Artifact).where(Artifact.job_id == attempt.job_id, Artifact.attempt == attempt.number)
        )
    }
    _demand_same(sent.get(filename), filename, sha256)
    others = [row for name, row in sent.items() if name != filename]
    limits = job.spec["limits"]
    if len(others) >= int(limits["output_count"]):
        raise LimitExceeded(f"An attempt may send {limits['output_count']} files.", code="artifact.too_many")
    return int(limits["output_bytes"]) - sum(row.size for row in others)


def add_artifact(session: Session, attempt: Attempt, filename: str, sha256: str, size: int) -> None:
    """Note a file that the attempt sent; sending the same bytes again changes nothing.

    Raises:
        Conflict: `artifact.differs`, the name was sent with other bytes.
    """
    known = session.get(Artifact, (attempt.job_id, attempt.number, filename))
    _demand_same(known, filename, sha256)
    if known is None:
        session.add(
            Artifact(
                job_id=attempt.job_id, attempt=attempt.number, filename=filename, sha256=sha256, size=size
            )
        )


def _demand_same(known: Artifact | None, filename: str, sha256: str) -> None:
    if known and known.sha256 != sha256:
        raise Conflict(f"{filename} was sent already with other bytes.", code="artifact.differs")


def add_dependency(
    session: Session,
    attempt: Attempt,
    *,
    ecosystem: str,
    filename: str,
    sha256: str,
    project: str,
    version: str,
    origin: str,
) -> None:
    """Note a file that the farm served to the attempt; `ecosystem` is `pypi`, `cargo` or `golang`."""
    if session.get(Dependency, (attempt.job_id, attempt.number, filename)) is None:
        session.add(
            Dependency(
                job_id=attempt.job_id,
                attempt=attempt.number,
                filename=filename,
                ecosystem=ecosystem,
                sha256=sha256,
                project=project,
                version=version,
                origin=origin,
                served_at=clock.now(),
            )
        )


def note_answer(session: Session, attempt: Attempt, ecosystem: str, asked: str, sha256: str | None) -> None:
    """Note what the index showed to the attempt, by its digest: empty for nothing, None for a failure."""
    known = session.get(IndexAnswer, (attempt.job_id, attempt.number, ecosystem, asked))
    if known is None:
        session.add(
            IndexAnswer(
                job_id=attempt.job_id,
                attempt=attempt.number,
                ecosystem=ecosystem,
                asked=asked,
                sha256=sha256,
            )
        )
    elif known.sha256 != sha256:
        known.sha256 = None


def finish(session: Session, attempt: Attempt, outcome: dict[str, Any], *, attempts_max: int) -> State:
    """End the attempt with what the builder reports; a fault of the farm's own gets another attempt.

    Returns the job's state afterwards.

    Raises:
        InvalidInput: `outcome.class`, the class is not one of that cause; `outcome.line`, the log has no
            such line.
        StaleAttempt: the attempt was replaced; its outcome is nobody's any more.
    """
    _demand_sense(attempt, outcome)
    state, cause = State(outcome["state"]), outcome.get("cause")
    build_id = session.execute(select(Job.build_id).where(Job.id == attempt.job_id)).scalar_one()
    cancelled = builds.hold(session, build_id).cancel_requested_at is not None
    if cancelled and state is not State.SUCCEEDED:
        state, cause = State.CANCELLED, None
    again = state is State.FAILED and cause == Cause.INFRASTRUCTURE and attempt.number < attempts_max
    told = {key: outcome.get(key) for key in ("failure_class", "first_error", "error_line", "phase")}
    if cause is None:
        told["failure_class"] = None
    told["memory_peak"] = _peak(outcome)
    if again:
        claims.requeue(session, Job, attempt.job_id, attempt.number)
    else:
        claims.finish(session, Job, attempt.job_id, attempt.number, state, cause=cause, **told)
    end_attempt(session, attempt, state, outcome)
    job = session.get_one(Job, attempt.job_id, populate_existing=True)
    builds.settle(session, job.build_id)
    return State(job.state)


def _peak(outcome: dict[str, Any]) -> int | None:
    """Bytes of memory that the attempt's containers used at the most; None where nobody could see it."""
    return max(
        (one["memory_bytes"] for one in outcome.get("phases", ()) if one.get("memory_bytes")), default=None
    )


def _demand_sense(attempt: Attempt, outcome: dict[str, Any]) -> None:
    """A builder may err about what went wrong, but it cannot contradict itself."""
    failure_class, line = outcome.get("failure_class"), outcome.get("error_line")
    if failure_class is not None and FAILURES[failure_class].cause != outcome.get("cause"):
        raise InvalidInput(
            f"What fails as {failure_class} has the cause {FAILURES[failure_class].cause}.",
            code="outcome.class",
        )
    if line is not None and line > attempt.log_lines:
        raise InvalidInput(
            f"The log has {attempt.log_lines} lines; there is no line {line}.", code="outcome.line"
        )


def end_attempt(session: Session, attempt: Attempt, state: State, outcome: dict[str, Any]) -> None:
    """Close the attempt's own row and seal its log."""
    attempt.state, attempt.finished_at, attempt.outcome = state, clock.now(), outcome
    logs.seal(session, attempt.job_id, attempt.number)


def held_by(session: Session, builder: Builder, job_id: str, number: int) -> Job:
    """The job, while this builder holds that attempt of it.

    Raises:
        StaleAttempt: it does not.
    """
    job, attempt = session.get(Job, job_id), session.get(Attempt, (job_id, number))
    held = attempt is not None and attempt.builder_id == builder.id
    if job is None or not held or job.attempt != number or job.state != State.RUNNING:
        raise StaleAttempt("This builder does not hold that attempt.", job=job_id)
    return job


def lose(session: Session, job: Job, *, attempts_max: int) -> State:
    """The builder of a running job has died or fallen silent: another attempt, or the end.

    Raises:
        StaleAttempt: the job moved on meanwhile.
    """
    attempt = session.get_one(Attempt, (job.id, job.attempt))
    sentence = "The builder was lost; nothing it had done was used."
    outcome = {
        "state": State.FAILED,
        "cause": Cause.INFRASTRUCTURE,
        "failure_class": "lost",
        "first_error": sentence,
        "phase": job.phase,
    }
    return finish(session, attempt, outcome, attempts_max=attempts_max)


def time_out(session: Session, job: Job) -> State:
    """The job ran past its deadline though its builder keeps talking."""
    attempt = session.get_one(Attempt, (job.id, job.attempt))
    sentence = f"The job was not done {DEADLINE_SLACK} after its time limit."
    outcome = {
        "state": State.TIMED_OUT,
        "cause": Cause.LIMIT,
        "failure_class": "timeout",
        "first_error": sentence,
        "phase": job.phase,
    }
    return finish(session, attempt, outcome, attempts_max=1)
