"""Why a queued job waits and when it will begin, as far as anybody can know.

An answer for people: nothing is decided by it. A builder's own words (its queues, its slots) are taken as
they are.
"""

from __future__ import annotations

import heapq
import statistics
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from buildfarm import clock
from buildfarm.config import Settings
from buildfarm.farm import crew, dispatch, packing
from buildfarm.farm.machines import Execution, executed
from buildfarm.farm.model import Attempt, Builder, Job
from buildfarm.farm.rules import State
from buildfarm.sources.model import Source

#: Jobs that ended last, whose median says how long one takes.
_RECENT = 50


@dataclass(frozen=True)
class Wait:
    """Why a job is queued; `ahead` counts those before it, `expected_at` is a guess, where there is one."""

    sentence: str
    ahead: int = 0
    expected_at: datetime | None = None


@dataclass(frozen=True)
class _Slots:
    """The builders that can take a job now, and since when their attempts run."""

    count: int
    began: tuple[datetime, ...]


def waits_of(session: Session, build_id: str, settings: Settings) -> dict[str, Wait]:
    """Why each queued job of a build waits, by its id."""
    queued = session.scalars(select(Job).where(Job.build_id == build_id, Job.state == State.QUEUED)).all()
    if not queued:
        return {}
    if sentence := _paused(session):
        return {job.id: Wait(sentence) for job in queued}
    builders = _builders(session)
    limited = _at_limit(session, {queued[0].source_id}).get(queued[0].source_id, "")
    short = packing.why(session, [build_id])
    found: dict[str, Wait] = {}
    for queue in sorted({job.queue for job in queued}):
        here = [job for job in queued if job.queue == queue]
        able, obstacle = _able(builders, queue, settings)
        if obstacle:
            found |= {job.id: Wait(obstacle) for job in here}
            continue
        slots, before = _slots(session, able), _ahead(session, able, here[0])
        typical = _typical_s(session, executed(queue.split(".")[1], able[0].machine))
        for position, job in enumerate(sorted(here, key=lambda job: job.id)):
            ahead = before + position
            held = short.get(job) or (limited if job.handed_over_at is None else "")
            expected = None if held else _expected(slots, ahead, typical)
            found[job.id] = Wait(held or _busy(slots, ahead), ahead, expected)
    return found


def obstacles_of(session: Session, build_ids: Collection[str], settings: Settings) -> dict[str, str]:
    """By build, why nobody may take its queued jobs now; nothing of those that only wait for their turn.

    For lists: what it asks the database does not grow with the builds.
    """
    waiting = session.execute(
        select(Job.build_id, Job.source_id, Job.queue, Job.handed_over_at.is_(None).label("is_held"))
        .where(Job.build_id.in_(build_ids), Job.state == State.QUEUED)
        .distinct()
    ).all()
    if sentence := _paused(session):
        return {row.build_id: sentence for row in waiting}
    builders = _builders(session)
    of_queue = {queue: _able(builders, queue, settings)[1] for queue in {row.queue for row in waiting}}
    limited = _at_limit(session, {row.source_id for row in waiting if row.is_held})
    found: dict[str, str] = {}
    for row in waiting:
        sentence = of_queue[row.queue] or (limited.get(row.source_id, "") if row.is_held else "")
        if sentence:
            found.setdefault(row.build_id, sentence)
    for job, sentence in packing.why(session, build_ids).items():
        found.setdefault(job.build_id, sentence)
    return found


def _paused(session: Session) -> str:
    """The sentence, when somebody has paused the farm."""
    pause = dispatch.paused(session)
    if pause is None:
        return ""
    return f"{pause.actor} has paused the farm" + (f": {pause.reason}" if pause.reason else ".")


def _builders(session: Session) -> list[Builder]:
    return list(session.scalars(select(Builder).order_by(Builder.name)))


def _able(builders: Sequence[Builder], queue: str, settings: Settings) -> tuple[list[Builder], str]:
    """The builders that take this queue's jobs now; when there is none, why not."""
    able = [one for one in builders if crew.serves(one, queue)]
    if not able:
        _, platform, tier, _ = queue.split(".")
        return [], f"No builder that joined takes {platform} for the tier {tier}; an administrator adds one."
    for what, stops in crew.obstacles(settings):
        names = ", ".join(one.name for one in able)
        able = [one for one in able if not stops(one)]
        if not able:
            return [], f"Every builder that could take it is {what}: {names}."
    natives = [one for one in able if not crew.emulates(one, queue)]
    return natives or able, ""


def _at_limit(session: Session, source_ids: Collection[str]) -> dict[str, str]:
    """The sentence for each of the sources that has as many jobs with builders as it may."""
    at_work = crew.with_builders(Source.id)
    rows = session.execute(
        select(Source.id, Source.name, Source.jobs_max, at_work.label("count"))
        .where(Source.id.in_(source_ids), Source.jobs_max <= at_work)
    )  # fmt: skip
    return {
        row.id: f"{row.name} has {row.count} of at most {row.jobs_max} jobs with builders." for row in rows
    }


def _slots(session: Session, able: Sequence[Builder]) -> _Slots:
    running = session.scalars(
        select(Attempt.started_at)
        .join(Job, (Job.id == Attempt.job_id) & (Job.attempt == Attempt.number))
        .where(Job.state == State.RUNNING, Attempt.builder_id.in_([one.id for one in able]))
    )
    return _Slots(sum(one.facts["slots"] for one in able), tuple(running))


def _ahead(session: Session, able: Sequence[Builder], job: Job) -> int:
    """Queued jobs of other builds that these builders take before the given one."""
    queues = sorted({queue for one in able for queue in one.facts["queues"]})
    before = (Job.urgency < job.urgency) | ((Job.urgency == job.urgency) & (Job.id < job.id))
    query = select(func.count()).where(
        Job.state == State.QUEUED, Job.queue.in_(queues), Job.build_id != job.build_id, before
    )
    return session.execute(query).scalar_one()


def _busy(slots: _Slots, ahead: int) -> str:
    if ahead + len(slots.began) < slots.count:
        return "A builder takes it in a moment."
    jobs = "No job is" if not ahead else "1 job is" if ahead == 1 else f"{ahead} jobs are"
    if len(slots.began) < slots.count:
        return f"{jobs} ahead of it."
    all_are = (
        "The one slot that takes it is" if slots.count == 1 else f"All {slots.count} slots that take it are"
    )
    return f"{all_are} busy; {jobs.lower()} ahead of it."


def _typical_s(session: Session, execution: Execution) -> float | None:
    """How long a job takes that is executed so, by the last ones that succeeded; None while there is none."""
    rows = session.execute(
        select(Job.started_at, Job.finished_at)
        .where(Job.state == State.SUCCEEDED, Job.started_at.is_not(None), Job.finished_at.is_not(None))
        .where(Job.execution == execution)
        .order_by(Job.finished_at.desc())
        .limit(_RECENT)
    ).all()
    took = [(row.finished_at - row.started_at).total_seconds() for row in rows]
    return statistics.median(took) if took else None


def _expected(slots: _Slots, ahead: int, typical_s: float | None) -> datetime | None:
    """When a slot comes free for what has so many jobs ahead, if each takes as long as usual."""
    now = clock.now()
    if ahead + len(slots.began) < slots.count:
        return now
    if typical_s is None:
        return None
    free = [max(0.0, typical_s - (now - began).total_seconds()) for began in slots.began]
    free += [0.0] * (slots.count - len(free))
    heapq.heapify(free)
    rounds, rest = divmod(ahead, len(free))
    for _ in range(rest):
        heapq.heappush(free, heapq.heappop(free) + typical_s)
    return now + timedelta(seconds=free[0] + rounds * typical_s)
