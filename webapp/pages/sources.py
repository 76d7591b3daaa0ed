"""`/sources`: what the farm listens to, how to connect it, what came of it."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, redirect, request
from sqlalchemy.orm import Session
from werkzeug.wrappers import Response as Redirect

from buildfarm.farm import builds
from buildfarm.farm.show import BuildRow, list_builds
from buildfarm.index import names
from buildfarm.scm import connect, connections, pulls, show
from buildfarm.scm.forges.address import KINDS as API_KINDS
from buildfarm.scm.instep import Step, steps_of
from buildfarm.scm.kinds import KINDS
from buildfarm.scm.offered import offers
from buildfarm.scm.offered.begin import why_not
from buildfarm.scm.why import why
from buildfarm.sources import show as sources
from buildfarm.sources.names import TIERS, full_ref
from buildfarm.sources.pulls import list_open
from buildfarm.sources.show import SourceRow
from webapp.api.effects import hand_over
from webapp.api.given import hook_url
from webapp.context import check_form, farm, require
from webapp.pages import home
from webapp.pages.attention import Notice, notices, notices_of_requests, notices_of_scm
from webapp.pages.connecting import facts_of_scm, take_token
from webapp.pages.query import text, words
from webapp.pages.shell import page

blueprint = Blueprint("sources", __name__)
_RECENT = 10


@blueprint.get("/sources")
def list_all() -> Response:
    """Every source."""
    require("view")
    with farm().database.read() as session:
        lines = home.lines(session, sources.list_sources(session))
        connected, (offered, more) = sources.list_connections(session), offers.list_offers(session)
    return page(
        "sources/list.html", lines=lines, kinds=KINDS, tiers=TIERS, connections=connected, offered=offered,
        api_kinds=API_KINDS, more_offered=more,
    )  # fmt: skip


@blueprint.post("/sources")
def add() -> Response | Redirect:
    """Listen to a repository; where the farm makes no hook, the answer shows its secrets, this once."""
    check_form()
    who, form = require("admin"), request.form
    with farm().database.begin() as session:
        source, secrets = connect.add_source(
            session, form.get("name", "").strip(), form.get("url", "").strip(), scm=form.get("scm") or None,
            branches=words("branches"), tier=form.get("tier", "dev"),
            allow_file=farm().settings.sources_allow_file, actor=who.name,
        )  # fmt: skip
        names.make_local(session, words("projects"), source, actor=who.name)
        installs = take_token(session, source, installs="install" in form, actor=who.name)
    if not installs:
        return _secrets_page(source.name, source.scm, secrets)
    hand_over()
    return redirect(f"/sources/{source.name}#connected", 303)


@blueprint.get("/sources/<name>")
def show_one(name: str) -> Response | Redirect:
    """One source: its hook, its grants, what happened lately, what needs attention."""
    require("view")
    with farm().database.read() as session:
        if sources.is_connection(session, name):
            return redirect(f"/connections/{name}", 303)
        source = sources.source_detail(session, name)
        recent, _ = list_builds(session, source=name, limit=_RECENT)
        deliveries, _ = show.list_deliveries(session, source=name, limit=_RECENT)
        step = steps_of(session, [source.id])[source.id]
        scm = facts_of_scm(session, source, connections.covering(session, source))
        (requests, more), unbuilt = list_open(session, source.id, name), _of_push(session, name)
    return page(
        "sources/show.html", source=source, builds=recent, deliveries=deliveries, hook_url=hook_url(name),
        notices=unbuilt + notices_of_requests(requests) + _attention(source, step, recent, deliveries, scm),
        step=step, requests=requests, more_requests=more, **scm,
    )  # fmt: skip


@blueprint.get("/sources/<name>/why")
def explain(name: str) -> Response:
    """What became of a ref or commit."""
    require("view")
    asked = text("of")
    with farm().database.read() as session:
        source = sources.source_detail(session, name)
        found = why(session, farm().settings, name, asked) if asked else None
    return page("sources/why.html", source=source, asked=asked, why=found)


@blueprint.post("/sources/<name>/builds")
def start(name: str) -> Redirect:
    """Start a build by hand."""
    check_form()
    who = require("build")
    ref, commit = full_ref(request.form.get("ref", "").strip())
    with farm().database.begin() as session:
        source = sources.get(session, name)
        build = builds.start(session, source, ref=ref, commit=commit, trigger="manual", actor=who.name)
    hand_over()
    return redirect(f"/builds/{build.id}", 303)


@blueprint.post("/sources/<name>/pull-requests/<int:number>/approve")
def approve(name: str, number: int) -> Redirect:
    """Let the commit of a fork that the page showed be built."""
    check_form()
    who = require("build")
    with farm().database.begin() as session:
        source = sources.get(session, name)
        build = pulls.approve(session, source, number, request.form.get("commit", ""), actor=who.name)
    hand_over()
    return redirect(f"/builds/{build.id}", 303)


@blueprint.post("/sources/<name>/projects")
def grant(name: str) -> Redirect:
    """Let a source publish projects."""
    check_form()
    who = require("admin")
    with farm().database.begin() as session:
        names.make_local(session, words("projects"), sources.get(session, name), actor=who.name)
    return redirect(f"/sources/{name}", 303)


@blueprint.post("/sources/<name>/secrets")
def rotate(name: str) -> Response:
    """Make new secrets beside the old ones, and show them this once."""
    check_form()
    who = require("admin")
    with farm().database.begin() as session:
        source = sources.get_any(session, name)
        secrets = connect.rotate_secrets(session, source, actor=who.name)
    return _secrets_page(source.name, source.scm, secrets)


def _of_push(session: Session, name: str) -> list[Notice]:
    """Why what was pushed is not built, of which the link speaks that accepting a repository leads to."""
    ref = text("pushed")
    refused = why_not(sources.get(session, name), ref) if ref else None
    return [Notice(refused.message, refused.hint, code=refused.code)] if refused else []


def _attention(
    source: SourceRow,
    step: Step,
    recent: list[BuildRow],
    deliveries: list[show.DeliveryRow],
    scm: dict[str, Any],
) -> list[Notice]:
    told = notices_of_scm(f"source {source.name}", scm["answering"], scm["watch"])
    has_token = scm["answering"] is not None
    return [*notices(source, step, recent, deliveries, scm["covered"], has_token=has_token), *told]


def _secrets_page(name: str, scm: str, secrets: connect.HookSecrets) -> Response:
    return page("sources/secrets.html", name=name, scm=scm, secrets=secrets, hook_url=hook_url(name))
