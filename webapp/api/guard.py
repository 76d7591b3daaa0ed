"""`/api/v1/channels/<name>/policy`, `/api/v1/lifts`, `/api/v1/advisories`: what guards the mirrors."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from flask import Blueprint, Response, request
from pydantic import Field

from buildfarm.index import guarded, prefetch
from buildfarm.mirror import advisories, lifts, policy
from buildfarm.mirror.guard_model import Lift
from webapp.api.answer import answer, page
from webapp.api.effects import hand_over, wait_visible
from webapp.api.spec import Body, Page, answers, spec
from webapp.context import farm, require

blueprint = Blueprint("guard", __name__)
_TAGS = ["guard"]
_ARCHIVE_BYTES = 512 << 20
_CHUNK = 1 << 20


@dataclass(frozen=True)
class PolicyRow:
    """A channel's policy: the keys that differ from an empty one."""

    channel: str
    policy: dict[str, Any]


class PolicyText(Body):
    """A policy as people write it."""

    toml: str = Field(max_length=1_000_000)


class LockText(Body):
    """A requirements.txt, uv.lock or pylock.toml."""

    text: str = Field(max_length=8 << 20)


class WantedRelease(Body):
    """A release that upstream has only as source."""

    project: str
    version: str


@dataclass(frozen=True)
class Requested:
    """The build that makes the wheels; it may have been under way, or done, already."""

    build_id: str


@dataclass(frozen=True)
class LiftRow:
    """A rule that somebody lifted for one version; `until` is empty when it is meant for ever."""

    id: str
    channel: str
    project: str
    version: str
    rule: str
    reason: str
    actor: str
    created_at: datetime
    until: datetime | None
    ended_at: datetime | None


class NewLift(Body):
    """Which rule to lift, for which version, why, and for how long."""

    channel: str
    project: str
    version: str
    rule: str
    reason: str
    days: float | None = Field(None, gt=0, le=3650)


@dataclass(frozen=True)
class AdvisoriesState:
    """What was imported; `newest` is when the newest advisory was modified."""

    advisories: int
    newest: str | None


@blueprint.get("/channels/<name>/policy")
@spec.validate(resp=answers(PolicyRow), tags=_TAGS)
def show_policy(name: str) -> Response:
    """The policy in force."""
    require("view")
    with farm().database.read() as session:
        found = guarded.policy_of(session, name)
    return answer(PolicyRow(name, found.model_dump(mode="json", exclude_defaults=True)))


@blueprint.put("/channels/<name>/policy")
@spec.validate(resp=answers(PolicyRow), tags=_TAGS)
def set_policy(name: str, json: PolicyText) -> Response:
    """Put a policy in force; pages, metadata and files follow it when this answers."""
    who = require("admin")
    wanted = policy.parse(json.toml)
    with farm().database.begin() as session:
        row = guarded.set_policy(session, name, wanted, actor=who.name)
    wait_visible(session)
    return answer(PolicyRow(name, row.policy))


@blueprint.post("/channels/<name>/policy/check")
@spec.validate(resp=answers(guarded.DryRun), tags=_TAGS)
def check_policy(name: str, json: PolicyText) -> Response:
    """What a policy would change of what the mirror knows today; nothing is changed."""
    require("view")
    return answer(farm().guard.dry_run(name, policy.parse(json.toml)))


@blueprint.post("/channels/<name>/prefetch")
@spec.validate(resp=answers(prefetch.Plan), tags=_TAGS)
def plan_prefetch(name: str, json: LockText) -> Response:
    """Which files of a channel a lock file needs; asking for each of them makes the mirror hold it."""
    require("read", name)
    return answer(prefetch.plan(farm().database, farm().guard, farm().upstream, name, json.text))


@blueprint.post("/channels/<name>/supplements")
@spec.validate(resp=answers(Requested, 201), tags=_TAGS)
def build_wheels(name: str, json: WantedRelease) -> Response:
    """Have the farm build wheels of an upstream release from its sdist; they join upstream's files."""
    who = require("build")
    build_id = farm().supplementer.request(name, json.project, json.version, actor=who.name)
    hand_over()
    return answer(Requested(build_id), 201)


@blueprint.get("/lifts")
@spec.validate(resp=answers(Page[LiftRow]), tags=_TAGS)
def list_lifts() -> Response:
    """Every lift, the newest first."""
    require("view")
    with farm().database.read() as session:
        return page([_row(one) for one in lifts.listed(session)])


@blueprint.post("/lifts")
@spec.validate(resp=answers(LiftRow, 201), tags=_TAGS)
def add_lift(json: NewLift) -> Response:
    """Break glass: let a version through a rule."""
    who = require("admin")
    with farm().database.begin() as session:
        lift = lifts.add(
            session, json.channel, json.project, json.version, json.rule,
            reason=json.reason, days=json.days, actor=who.name,
        )  # fmt: skip
    wait_visible(session)
    return answer(_row(lift), 201)


@blueprint.delete("/lifts/<lift_id>")
@spec.validate(resp=answers(LiftRow), tags=_TAGS)
def end_lift(lift_id: str) -> Response:
    """Let the rule hold again."""
    who = require("admin")
    with farm().database.begin() as session:
        lift = lifts.end(session, lift_id, actor=who.name)
    wait_visible(session)
    return answer(_row(lift))


@blueprint.get("/advisories")
@spec.validate(resp=answers(AdvisoriesState), tags=_TAGS)
def show_advisories() -> Response:
    """How many advisories are known, and how new they are."""
    require("view")
    with farm().database.read() as session:
        return answer(AdvisoriesState(*advisories.count(session)))


@blueprint.put("/advisories")
@spec.validate(resp=answers(AdvisoriesState), tags=_TAGS)
def import_advisories() -> Response:
    """Replace all advisories by those of the archive in the body (`PyPI/all.zip` of the OSV database)."""
    who = require("admin")
    request.max_content_length = _ARCHIVE_BYTES
    with tempfile.NamedTemporaryFile(dir=farm().settings.data) as archive:
        while chunk := request.stream.read(_CHUNK):
            archive.write(chunk)
        archive.flush()
        with farm().database.begin() as session:
            done = advisories.import_archive(session, Path(archive.name), actor=who.name)
    wait_visible(session)
    return answer(AdvisoriesState(done.advisories, done.newest))


def _row(lift: Lift) -> LiftRow:
    return LiftRow(
        lift.id, lift.channel, lift.project, lift.version, lift.rule, lift.reason, lift.actor,
        lift.created_at, lift.until, lift.ended_at,
    )  # fmt: skip
