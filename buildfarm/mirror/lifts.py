"""Break glass: somebody lets versions of an upstream project through in spite of a rule, with a reason.

Every lift is journalled with its author, names one rule, and ends by itself unless it is meant for ever.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from packaging.utils import InvalidName, canonicalize_name
from packaging.version import InvalidVersion, Version
from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from buildfarm import clock
from buildfarm.errors import InvalidInput, NotFound
from buildfarm.ids import new_id
from buildfarm.journal.record import record
from buildfarm.mirror.guard_model import Lift
from buildfarm.mirror.policy import RULES
from buildfarm.nearest import did_you_mean


@dataclass(frozen=True)
class Lifted:
    """The rules that are lifted for a version, and when the first of them holds again."""

    rules: frozenset[str]
    until: datetime | None


def add(
    session: Session,
    channel: str,
    project: str,
    version: str,
    rule: str,
    *,
    reason: str,
    actor: str,
    days: float | None = None,
) -> Lift:
    """Let one version through a rule of one channel, for some days or for ever.

    Raises:
        InvalidInput: `lift.rule`, `lift.reason`, `project.name`, `version.invalid`.
    """
    if rule not in RULES:
        raise InvalidInput(f"There is no rule {rule!r}.", code="lift.rule", hint=did_you_mean(rule, RULES))
    if not 0 < len(reason) <= 500 or not reason.isprintable():
        raise InvalidInput("Say why, in one line of at most 500 characters.", code="lift.reason")
    try:
        name, exact = canonicalize_name(project, validate=True), str(Version(version))
    except InvalidName as err:
        raise InvalidInput(f"{project[:100]!r} is no project name.", code="project.name") from err
    except InvalidVersion as err:
        raise InvalidInput(f"{version[:100]!r} is no version (PEP 440).", code="version.invalid") from err
    now = clock.now()
    lift = Lift(
        id=new_id("lft"), channel=channel, project=name, version=exact, rule=rule, reason=reason,
        actor=actor, created_at=now, until=None if days is None else now + timedelta(days=days),
    )  # fmt: skip
    session.add(lift)
    record(
        session,
        "lift.add",
        project=name,
        channel=channel,
        lift=lift.id,
        version=exact,
        rule=rule,
        reason=reason,
        until=lift.until and clock.iso(lift.until),
        actor=actor,
    )
    return lift


def end(session: Session, lift_id: str, *, actor: str) -> Lift:
    """Let the rule hold again.

    Raises:
        NotFound: `lift.unknown`, there is none, or it has ended.
    """
    lift = session.get(Lift, lift_id, with_for_update=True)
    if lift is None or lift.ended_at is not None:
        raise NotFound(f"There is no lift {lift_id} in force.", code="lift.unknown")
    lift.ended_at = clock.now()
    record(session, "lift.end", project=lift.project, channel=lift.channel, lift=lift.id, actor=actor)
    return lift


def in_force(session: Session, channel: str, project: str, now: datetime) -> Mapping[Version, Lifted]:
    """What is lifted for a (normalised) project in a channel, by version."""
    rows = session.scalars(
        select(Lift).where(
            Lift.channel == channel,
            Lift.project == project,
            Lift.ended_at.is_(None),
            or_(Lift.until.is_(None), Lift.until > now),
        )
    )
    lifted: dict[Version, Lifted] = {}
    for row in rows:
        before = lifted.get(Version(row.version), Lifted(frozenset(), None))
        ends = [end for end in (before.until, row.until) if end]
        lifted[Version(row.version)] = Lifted(before.rules | {row.rule}, min(ends, default=None))
    return lifted


def listed(session: Session) -> list[Lift]:
    """All lifts, newest first."""
    return list(session.scalars(select(Lift).order_by(Lift.created_at.desc(), Lift.id)))
