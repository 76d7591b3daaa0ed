"""`/api/v1/wheel-rules`: which wheels the farm builds by rule when upstream has none."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from flask import Blueprint, Response
from pydantic import Field

from buildfarm import clock
from buildfarm.access.rules import Principal
from buildfarm.index import wheel_rules
from buildfarm.index.wheel_rules import Verdict
from buildfarm.mirror.guard_model import WheelRule
from webapp.api.answer import answer, page
from webapp.api.spec import Body, Page, answers, spec
from webapp.context import farm, require

blueprint = Blueprint("wheel_rules", __name__)
_TAGS = ["guard"]
#: How many builds of a rule are shown.
_BUILDS = 100


class RuleBody(Body):
    """A rule: of which projects, how many of the newest releases, how many builds in 24 hours."""

    channel: str = Field(description="A mirror channel, or a union with one, whose policy holds.")
    patterns: list[str] = Field(description="Project names, with `*` and `?` for what varies.")
    newest: int = Field(1, description="So many of a project's newest releases are looked at.")
    prereleases: bool = Field(False, description="Whether pre-releases count among them.")
    daily: int = Field(20, description="Most builds within 24 hours.")
    enabled: bool = Field(True, description="Whether it builds.")


@dataclass(frozen=True)
class RuleRow:
    """A rule, and who made it so."""

    name: str
    channel: str
    patterns: list[str]
    newest: int
    prereleases: bool
    daily: int
    enabled: bool
    actor: str
    changed_at: datetime


@dataclass(frozen=True)
class RuleBuild:
    """A build that a rule started."""

    id: str
    project: str
    version: str
    state: str
    first_error: str | None
    created_at: datetime


@dataclass(frozen=True)
class RuleDetail(RuleRow):
    """A rule with what it says of every release that it looks at, and its newest builds."""

    releases: list[Verdict]
    builds: list[RuleBuild]


@dataclass(frozen=True)
class RuleCheck:
    """What a rule says of every release that it would look at."""

    releases: list[Verdict]


@blueprint.get("/wheel-rules")
@spec.validate(resp=answers(Page[RuleRow]), tags=_TAGS)
def list_rules() -> Response:
    """Every rule, by name."""
    require("view")
    with farm().database.read() as session:
        return page([_row(one) for one in wheel_rules.listed(session)])


@blueprint.get("/wheel-rules/<name>")
@spec.validate(resp=answers(RuleDetail), tags=_TAGS)
def show_rule(name: str) -> Response:
    """What a rule will build, what it does not build and why, and what it has built."""
    require("view")
    with farm().database.read() as session:
        rule = wheel_rules.get(session, name)
        builds = [
            RuleBuild(
                one.id, one.project or "", one.version or "", one.state, one.first_error, one.created_at
            )
            for one in wheel_rules.built(session, name, limit=_BUILDS)
        ]
    releases = farm().wheel_rules.verdicts(rule)
    return answer(RuleDetail(**vars(_row(rule)), releases=releases, builds=builds))


@blueprint.put("/wheel-rules/<name>")
@spec.validate(resp=answers(RuleRow), tags=_TAGS)
def set_rule(name: str, json: RuleBody) -> Response:
    """Make a rule, or change it whole."""
    who = require("admin")
    with farm().database.begin() as session:
        row = _row(wheel_rules.put(session, _rule(name, json, who)))
    return answer(row)


@blueprint.post("/wheel-rules/check")
@spec.validate(resp=answers(RuleCheck), tags=_TAGS)
def check_rule(json: RuleBody) -> Response:
    """What a rule would build of what the mirror knows today; nothing is kept, nothing is built."""
    who = require("view")
    with farm().database.read() as session:
        rule = wheel_rules.checked(session, _rule("check", json, who))
    return answer(RuleCheck(farm().wheel_rules.verdicts(rule)))


@blueprint.delete("/wheel-rules/<name>")
@spec.validate(resp=answers(RuleRow), tags=_TAGS)
def remove_rule(name: str) -> Response:
    """Take a rule away; what it has built stays."""
    who = require("admin")
    with farm().database.begin() as session:
        row = _row(wheel_rules.remove(session, name, actor=who.name))
    return answer(row)


def _rule(name: str, body: RuleBody, who: Principal) -> WheelRule:
    return WheelRule(name=name, actor=who.name, changed_at=clock.now(), **body.model_dump())


def _row(rule: WheelRule) -> RuleRow:
    return RuleRow(
        rule.name, rule.channel, rule.patterns, rule.newest, rule.prereleases, rule.daily, rule.enabled,
        rule.actor, rule.changed_at,
    )  # fmt: skip
