"""Which builders could take a job: what is known of them, and what they say about themselves.

A builder's own words (its queues, its slots, its findings) serve to hand out work; they are no evidence.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, ScalarSelect, func, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from buildfarm import clock
from buildfarm.access.model import Token
from buildfarm.config import Settings
from buildfarm.farm.machines import Execution, executed, native_to
from buildfarm.farm.model import Attempt, Builder, Image, Job
from buildfarm.farm.rules import State
from buildfarm.sources.model import Source

#: A builder that has kept silent for so many of its intervals counts as away.
SILENCES = 3
#: Before any hand-over. An index answers `> _EVER`, and `IS NOT NULL` on SQLite not.
_EVER = datetime(1970, 1, 1, tzinfo=UTC)


def serves(builder: Builder, queue: str) -> bool:
    """Whether the builder looks into this build queue and may run its tier."""
    return queue in builder.facts.get("queues", ()) and queue.split(".")[2] in builder.tiers


def emulates(builder: Builder, queue: str) -> bool:
    """Whether the builder runs this queue's jobs by an emulator."""
    return executed(queue.split(".")[1], builder.machine) is Execution.EMULATED


def left_to_natives(session: Session, builder: Builder, settings: Settings) -> list[str]:
    """The queues of a builder whose jobs it would emulate and another one, which is at work, would not."""
    emulated = [queue for queue in builder.facts.get("queues", ()) if emulates(builder, queue)]
    if not emulated:
        return []
    query = select(Builder).where(Builder.id != builder.id)
    working = [
        one for one in session.scalars(query) if not any(stops(one) for _, stops in obstacles(settings))
    ]
    return [
        queue for queue in emulated if any(serves(one, queue) and not emulates(one, queue) for one in working)
    ]


def native_machines(session: Session) -> frozenset[str] | None:
    """The machines whose programs some builder of the farm runs by itself; None while there is no builder.

    Whether it is there at this moment plays no part: the same commit is built for the same platforms.
    """
    admitted = (
        select(Builder.machine)
        .join(Token, Token.id == Builder.token_id)
        .where(Builder.machine.is_not(None), Token.revoked_at.is_(None))
    )
    return frozenset(name for one in session.scalars(admitted) for name in native_to(one or "")) or None


def failed_checks(builder: Builder) -> list[dict[str, Any]]:
    """The bad findings of the builder's last self-test."""
    return [one for one in builder.facts.get("findings") or () if not one["good"]]


def holds(builder: Builder, family: str) -> bool:
    """Whether the builder has found all images of a family of platforms on its engine."""
    is_of = any(queue.split(".")[1] == family for queue in builder.facts.get("queues", ()))
    found = [one["good"] for one in builder.facts.get("findings") or () if one["name"] == "images"]
    return is_of and found == [True]


def is_fit(builder: Builder) -> bool:
    """Whether the builder has tested itself and found nothing bad."""
    return builder.facts.get("findings") is not None and not failed_checks(builder)


def knows_images(session: Session, builder: Builder, job: Job) -> bool:
    """Whether the builder looked for the images of the job when it tested itself.

    It is told of a new one when it says again that it is there. One that it cannot be told of is not missed.
    """
    looked_for = builder.facts.get("images")
    if looked_for is None:
        return True
    wanted = {job.spec.get("build_image"), job.spec.get("test_image")} - {None, *looked_for}
    known = select(Image.image_id).where(Image.retired_at.is_(None) | Image.archive_sha256.is_not(None))
    return session.scalar(known.where(Image.image_id.in_(wanted)).limit(1)) is None


def obstacles(settings: Settings) -> Sequence[tuple[str, Callable[[Builder], bool]]]:
    """What keeps a builder that serves a queue from its work, in words and as a test, the gravest first."""
    patience = timedelta(seconds=SILENCES * settings.timing.builder_seen_s)
    since = clock.now() - patience
    return (
        ("not heard of", lambda one: one.seen_at is None or one.seen_at < since),
        ("drained", lambda one: one.drained_at is not None),
        ("not tested so far", lambda one: one.facts.get("findings") is None),
        ("unfit by its self-test", lambda one: bool(failed_checks(one))),
    )


def free_slots(session: Session, builders: Sequence[Builder]) -> dict[str, int]:
    """How many more attempts each builder can run now, by its id."""
    running = dict(
        session.execute(
            select(Attempt.builder_id, func.count())
            .join(Job, (Job.id == Attempt.job_id) & (Job.attempt == Attempt.number))
            .where(Job.state == State.RUNNING)
            .group_by(Attempt.builder_id)
        ).all()
    )
    return {one.id: int(one.facts.get("slots", 1)) - running.get(one.id, 0) for one in builders}


def tried_in_vain(session: Session, job: Job) -> set[str]:
    """Ids of the builders on which the farm itself has failed this job."""
    earlier = select(Attempt.builder_id).where(Attempt.job_id == job.id, Attempt.number < job.attempt)
    return set(session.scalars(earlier))


def others_for(session: Session, job: Job, avoided: set[str], settings: Settings) -> list[Builder]:
    """Builders besides the avoided ones that could take the job at once."""
    found = [
        one
        for one in session.scalars(select(Builder).where(Builder.id.not_in(avoided)).order_by(Builder.name))
        if serves(one, job.queue) and not any(stops(one) for _, stops in obstacles(settings))
    ]
    free = free_slots(session, found)
    return [one for one in found if free[one.id] > 0]


def with_builders(source_id: InstrumentedAttribute[str] | str) -> ColumnElement[int]:
    """How many jobs of a source run, or wait in RQ where a builder may take them at any moment."""
    return _count(source_id, Job.state == State.RUNNING) + _count(
        source_id, Job.state == State.QUEUED, Job.handed_over_at > _EVER
    )


def has_room(session: Session, source_id: str, coming: int) -> bool:
    """Whether one more job of a source may go to builders, beside so many that are about to."""
    most = session.get_one(Source, source_id).jobs_max
    return most is None or session.execute(select(with_builders(source_id))).scalar_one() + coming < most


def _count(source_id: Any, *conditions: ColumnElement[bool]) -> ScalarSelect[int]:  # noqa: ANN401
    return select(func.count()).where(Job.source_id == source_id, *conditions).scalar_subquery()
