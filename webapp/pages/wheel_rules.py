"""`/mirrors/rules`: wheels that the farm builds by rule: make a rule, try it out, see what came of it."""

from __future__ import annotations

from flask import Blueprint, Response, redirect, request
from werkzeug.wrappers import Response as Redirect

from buildfarm import clock
from buildfarm.errors import InvalidInput
from buildfarm.index import wheel_rules
from buildfarm.mirror.guard_model import WheelRule
from webapp.context import check_form, farm, require
from webapp.pages.shell import page

blueprint = Blueprint("wheel_rules", __name__)
_BUILDS = 50


@blueprint.get("/mirrors/rules")
def list_all() -> Response:
    """Every rule, and the form for another one."""
    require("view")
    with farm().database.read() as session:
        return page("mirror_rules/list.html", rules=wheel_rules.listed(session), tried=None, releases=[])


@blueprint.post("/mirrors/rules")
def put() -> Redirect:
    """Make a rule, or replace the one of that name."""
    check_form()
    rule = _rule(require("admin").name)
    with farm().database.begin() as session:
        name = wheel_rules.put(session, rule).name
    return redirect(f"/mirrors/rules/{name}", 303)


@blueprint.post("/mirrors/rules/check")
def check() -> Response:
    """Dry run: what the rule in the form would build; it is not kept."""
    check_form()
    rule = _rule(require("admin").name)
    with farm().database.read() as session:
        tried, rules = wheel_rules.checked(session, rule), wheel_rules.listed(session)
    releases = farm().wheel_rules.verdicts(tried)
    return page("mirror_rules/list.html", rules=rules, tried=tried, releases=releases)


@blueprint.get("/mirrors/rules/<name>")
def show_one(name: str) -> Response:
    """One rule: what it built, what failed, what it will build, what it will not and why."""
    require("view")
    with farm().database.read() as session:
        rule = wheel_rules.get(session, name)
        builds = wheel_rules.built(session, name, limit=_BUILDS)
    releases = farm().wheel_rules.verdicts(rule)
    return page("mirror_rules/show.html", rule=rule, builds=builds, releases=releases)


@blueprint.post("/mirrors/rules/<name>/remove")
def remove(name: str) -> Redirect:
    """Take a rule away; what it has built stays."""
    check_form()
    who = require("admin")
    with farm().database.begin() as session:
        wheel_rules.remove(session, name, actor=who.name)
    return redirect("/mirrors/rules", 303)


def _rule(actor: str) -> WheelRule:
    form = request.form
    return WheelRule(
        name=form.get("name", "").strip(),
        channel=form.get("channel", "").strip(),
        patterns=form.get("patterns", "").replace(",", " ").split(),
        newest=_number("newest"),
        daily=_number("daily"),
        prereleases="prereleases" in form,
        enabled="off" not in form,
        actor=actor,
        changed_at=clock.now(),
    )


def _number(field: str) -> int:
    try:
        return int(request.form.get(field, ""))
    except ValueError as err:
        raise InvalidInput(f"`{field}` is no number.", code="wheel_rule.number") from err
