"""Packing by memory: on which host a job fits, by what it is known to need and what runs there.

What a host's attempts need together never exceeds its memory, except that a job which fits on no host runs
alone on the largest. A job that does not fit waits in the outbox while one host keeps room for it, which
means that this host begins nothing else before it: small jobs would keep a large one waiting for ever.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import and_, select
from sqlalchemy.orm import Session

from buildfarm.config import Settings
from buildfarm.farm import builds, crew
from buildfarm.farm.model import Attempt, Builder, Job
from buildfarm.farm.rules import State

#: So many of the jobs that wait for memory are looked at in one round, the most urgent and oldest first.
_LOOKED_AT = 50
_GIB = 1 << 30

#: Jobs that a host keeps room for, until they fit, and from then on until they are claimed.
_KEPT = and_(Job.state == State.QUEUED, Job.kept_by_id.is_not(None), Job.handed_over_at.is_(None))
_ON_ITS_WAY = and_(Job.state == State.QUEUED, Job.handed_over_at.is_not(None))


@dataclass
class Host:
    """A builder and its memory: `needs` are bytes by job, of what runs and of what is on its way to it."""

    builder: Builder
    needs: dict[str, int] = field(default_factory=dict)

    @property
    def memory(self) -> int | None:
        """Bytes that attempts may have together; None where the builder does not say."""
        return self.builder.facts.get("memory_bytes")

    @property
    def free(self) -> int:
        """Bytes that nothing is said to need; negative while a job runs that is larger than the host."""
        return (self.memory or 0) - sum(self.needs.values())

    @property
    def has_slot(self) -> bool:
        """Whether one more attempt can be begun."""
        return len(self.needs) < int(self.builder.facts["slots"])

    def need(self, job: Job) -> int:
        """Bytes: what earlier builds taught, for an unknown target one slot's share of the host."""
        return job.memory_need or (self.memory or 0) // int(self.builder.facts["slots"])

    def fits(self, job: Job) -> bool:
        """Whether the job can be begun beside what is here."""
        return self.memory is None or self.need(job) <= self.free

    def rank(self, job: Job) -> tuple[bool, int, bool, int]:
        """The larger, the better this host: best the one that can take the job now, or is the largest."""
        is_large = self.memory is None or self.need(job) <= self.memory
        return is_large, 0 if is_large else self.memory or 0, self.has_slot and self.fits(job), self.free


def admits(session: Session, builder: Builder, job_id: str, number: int, settings: Settings) -> bool:
    """Whether the builder's host has the memory for this attempt now; if not, one host keeps room for it.

    Holds the build and the builder until the transaction ends: of two claims the later sees the earlier.
    """
    job = session.get(Job, job_id)
    if job is None or builder.facts.get("memory_bytes") is None:
        return True
    builds.hold(session, job.build_id)
    # Not against who only refers to a builder, as a claim elsewhere does that has room kept here.
    session.refresh(builder, with_for_update={"key_share": True})
    session.refresh(job)
    if job.state != State.QUEUED or job.attempt != number:
        return True
    if job.kept_by_id != builder.id and _keeps_room(session, builder):
        return False
    (host,) = _filled(session, [builder], besides=job)
    if host.fits(job):
        return True
    best = _best(_able(session, settings, besides=job), job)
    if best is None or (best.builder.id == builder.id and not host.needs):
        return True
    job.kept_by_id = best.builder.id
    return False


def rests(session: Session, builder: Builder) -> bool:
    """Whether this builder keeps room for a job that does not fit so far, and none is on its way to it."""
    coming = select(Job.id).where(_ON_ITS_WAY, Job.kept_by_id == builder.id).limit(1)
    return _keeps_room(session, builder) and session.scalars(coming).first() is None


def _keeps_room(session: Session, builder: Builder) -> bool:
    kept = select(Job.id).where(_KEPT, Job.kept_by_id == builder.id).limit(1)
    return session.scalars(kept).first() is not None


def is_any_kept(session: Session) -> bool:
    """Whether any job waits for memory."""
    return session.scalars(select(Job.id).where(_KEPT).limit(1)).first() is not None


def let_go(session: Session) -> list[Job]:
    """Those of the jobs that waited for memory that may be handed over now, the most urgent first.

    Their room is kept until they are claimed. What its source's limit stops waits like any other job.
    """
    waiting = _waiting(session)
    hosts = _keeping(session, waiting)
    found: list[Job] = []
    for job in waiting:
        host = hosts.get(job.kept_by_id or "")
        if host is None:  # it waits already for another one before it
            continue
        if not crew.has_room(session, job.source_id, sum(one.source_id == job.source_id for one in found)):
            job.kept_by_id = None
        elif host.has_slot and (host.fits(job) or not host.needs):
            host.needs[job.id] = host.need(job)
            found.append(job)
        else:
            del hosts[host.builder.id]
    return found


def reconsider(session: Session, settings: Settings) -> None:
    """Have room kept where it is found first: builders come, go, and end what they run.

    What no builder is there for any more waits like any other job.
    """
    if waiting := _waiting(session):
        hosts = _able(session, settings)
        for job in waiting:
            best = _best(hosts, job)
            job.kept_by_id = best.builder.id if best else None


def _waiting(session: Session) -> Sequence[Job]:
    query = select(Job).where(_KEPT).order_by(Job.urgency, Job.id).limit(_LOOKED_AT)
    return session.scalars(query.with_for_update(skip_locked=True)).all()


def why(session: Session, build_ids: Collection[str]) -> dict[Job, str]:
    """The sentence for people for each job of these builds that waits for memory, the oldest job first."""
    query = select(Job).where(_KEPT, Job.build_id.in_(build_ids)).order_by(Job.id)
    jobs = session.scalars(query).all()
    hosts = _keeping(session, jobs)
    return {job: _sentence(hosts[job.kept_by_id or ""], job) for job in jobs}


def _sentence(host: Host, job: Job) -> str:
    return (
        f"It needs {_gib(host.need(job))} of memory; {host.builder.name} keeps room for it, "
        f"and has {_gib(max(0, host.free))} of {_gib(host.memory or 0)} free."
    )


def _gib(size: int) -> str:
    return f"{size / _GIB:.1f} GiB"


def _best(hosts: Sequence[Host], job: Job) -> Host | None:
    able = [one for one in hosts if crew.serves(one.builder, job.queue)]
    natives = [one for one in able if not crew.emulates(one.builder, job.queue)]
    return max(natives or able, key=lambda one: one.rank(job), default=None)


def _keeping(session: Session, jobs: Sequence[Job]) -> dict[str, Host]:
    """The hosts that keep room for these jobs, by their builder's id."""
    kept_by = select(Builder).where(Builder.id.in_({job.kept_by_id for job in jobs}))
    return {host.builder.id: host for host in _filled(session, session.scalars(kept_by).all())}


def _able(session: Session, settings: Settings, besides: Job | None = None) -> list[Host]:
    """Every builder that takes work now."""
    every = session.scalars(select(Builder).order_by(Builder.name))
    able = [one for one in every if not any(stops(one) for _, stops in crew.obstacles(settings))]
    return _filled(session, able, besides)


def _filled(session: Session, builders: Sequence[Builder], besides: Job | None = None) -> list[Host]:
    hosts = {one.id: Host(one) for one in builders}
    running = (
        select(Attempt.builder_id, Job)
        .join(Job, (Job.id == Attempt.job_id) & (Job.attempt == Attempt.number))
        .where(Job.state == State.RUNNING, Attempt.builder_id.in_(hosts))
    )
    coming = select(Job.kept_by_id, Job).where(_ON_ITS_WAY, Job.kept_by_id.in_(hosts))
    rows: list[Any] = [*session.execute(running), *session.execute(coming)]
    for builder_id, job in rows:
        if besides is None or job.id != besides.id:
            hosts[builder_id].needs[job.id] = hosts[builder_id].need(job)
    return list(hosts.values())
