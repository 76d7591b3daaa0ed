"""What people see of the machinery: how the queue does, which builders and images there are."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, select, true
from sqlalchemy.orm import Session

from buildfarm import clock
from buildfarm.config import Settings
from buildfarm.farm import crew, dispatch, registry
from buildfarm.farm.machines import machine_of
from buildfarm.farm.model import Attempt, Builder, Image, Job
from buildfarm.farm.rules import State


@dataclass(frozen=True)
class BuilderRow:
    """A builder; `running` counts the jobs that it holds now, `facts` are what it says about itself.

    `machine` is its host's, `emulates` are those besides that it builds for.

    `state` is `takes work` or why it does not: `not heard of`, `drained`, `not tested so far`,
    `unfit by its self-test`, with the bad findings in `failed`.
    """

    id: str
    name: str
    machine: str | None
    emulates: tuple[str, ...]
    tiers: tuple[str, ...]
    created_at: datetime
    seen_at: datetime | None
    drained_at: datetime | None
    state: str
    running: int
    failed: tuple[dict[str, Any], ...]
    facts: dict[str, Any]


@dataclass(frozen=True)
class ImageRow:
    """An image in use; `builders` are those that found it on their engines, by name.

    `archive` says whether the farm can give it to builders of other hosts: `kept`, `wanted` (nobody has sent
    it so far), or `not needed`, where there are none. `archive_bytes` is its size.

    `toolchain` is the compiler that a recipe must ask for; `machine` is the image's own, which can build for
    another one.
    """

    image_id: str
    platform: str
    machine: str
    role: str
    suite: str
    interpreters: tuple[str, ...]
    toolchain: str | None
    builders: tuple[str, ...]
    registered_at: datetime
    archive: str
    archive_bytes: int | None


@dataclass(frozen=True)
class PauseRow:
    """Since when nothing is handed to builders, by whom, and why."""

    since: datetime
    actor: str
    reason: str


@dataclass(frozen=True)
class QueueHealth:
    """How the queue does; `oldest_wait_s` is how long the oldest queued job has waited, in seconds."""

    paused: PauseRow | None
    waiting: int
    queued: int
    running: int
    oldest_wait_s: float
    builders: tuple[BuilderRow, ...]


def queue_health(session: Session, settings: Settings) -> QueueHealth:
    """Counts of what waits and runs, and who is there to run it."""
    live = [State.WAITING, State.QUEUED, State.RUNNING]
    counts = dict(
        session.execute(select(Job.state, func.count()).where(Job.state.in_(live)).group_by(Job.state)).all()
    )
    oldest = session.execute(select(func.min(Job.created_at)).where(Job.state == State.QUEUED)).scalar_one()
    pause = dispatch.paused(session)
    return QueueHealth(
        paused=PauseRow(pause.since, pause.actor, pause.reason) if pause else None,
        waiting=counts.get(State.WAITING, 0),
        queued=counts.get(State.QUEUED, 0),
        running=counts.get(State.RUNNING, 0),
        oldest_wait_s=max(0.0, (clock.now() - oldest).total_seconds()) if oldest else 0.0,
        builders=tuple(list_builders(session, settings)),
    )


def list_builders(session: Session, settings: Settings, name: str | None = None) -> list[BuilderRow]:
    """Every builder that joined, or the one of that name, by name."""
    obstacles = crew.obstacles(settings)
    running = dict(
        session.execute(
            select(Attempt.builder_id, func.count())
            .where(Attempt.state == State.RUNNING)
            .group_by(Attempt.builder_id)
        ).all()
    )
    return [
        BuilderRow(
            id=builder.id,
            name=builder.name,
            machine=builder.machine,
            emulates=tuple(builder.emulates),
            tiers=tuple(builder.tiers),
            created_at=builder.created_at,
            seen_at=builder.seen_at,
            drained_at=builder.drained_at,
            state=next((what for what, is_so in obstacles if is_so(builder)), "takes work"),
            running=running.get(builder.id, 0),
            failed=tuple(crew.failed_checks(builder)),
            facts=builder.facts,
        )
        for builder in session.scalars(
            select(Builder).where(Builder.name == name if name else true()).order_by(Builder.name)
        )
    ]


def list_images(session: Session, settings: Settings) -> list[ImageRow]:
    """The images in use, by platform and role."""
    otherwise = "wanted" if settings.builder_redis else "not needed"
    builders = session.scalars(select(Builder).order_by(Builder.name)).all()
    in_use = select(Image).where(Image.retired_at.is_(None)).order_by(Image.platform, Image.role)
    return [
        ImageRow(
            image_id=image.image_id,
            platform=image.platform,
            machine=image.machine or machine_of(image.platform),
            role=image.role,
            suite=image.suite,
            interpreters=tuple(image.interpreters),
            toolchain=image.toolchain,
            builders=tuple(
                one.name
                for one in builders
                if crew.holds(one, registry.family_of(image.platform, image.machine))
            ),
            registered_at=image.registered_at,
            archive="kept" if image.archive_sha256 else otherwise,
            archive_bytes=image.archive_bytes,
        )
        for image in session.scalars(in_use)
    ]
