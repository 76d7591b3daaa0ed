"""`/sources`: what the farm listens to, how to connect it, what came of it."""

from __future__ import annotations

from flask import Blueprint, Response, redirect, request
from werkzeug.wrappers import Response as Redirect

from buildfarm.farm import builds
from buildfarm.farm.show import list_builds
from buildfarm.index import names
from buildfarm.scm import connect, show
from buildfarm.scm.answers.show import answering
from buildfarm.scm.forges.address import KINDS as API_KINDS
from buildfarm.scm.hooking.orders import newest
from buildfarm.scm.instep import steps_of
from buildfarm.scm.kinds import KINDS
from buildfarm.scm.why import why
from buildfarm.sources import show as sources
from buildfarm.sources.names import TIERS, full_ref
from webapp.api.effects import hand_over
from webapp.context import check_form, farm, require
from webapp.pages import home
from webapp.pages.attention import notices, notices_of_answers
from webapp.pages.query import text
from webapp.pages.shell import page

blueprint = Blueprint("sources", __name__)
_RECENT = 10


@blueprint.get("/sources")
def list_all() -> Response:
    """Every source."""
    require("view")
    with farm().database.read() as session:
        lines = home.lines(session, sources.list_sources(session))
    return page("sources/list.html", lines=lines, kinds=KINDS, tiers=TIERS)


@blueprint.post("/sources")
def add() -> Response:
    """Listen to a repository; the answer shows the secrets of its hook, this once."""
    check_form()
    who, form = require("admin"), request.form
    with farm().database.begin() as session:
        source, secrets = connect.add_source(
            session, form.get("name", "").strip(), form.get("url", "").strip(), scm=form.get("scm") or None,
            branches=_words("branches"), tier=form.get("tier", "dev"),
            allow_file=farm().settings.sources_allow_file, actor=who.name,
        )  # fmt: skip
        names.make_local(session, _words("projects"), source, actor=who.name)
    return _secrets_page(source.name, source.scm, secrets)


@blueprint.get("/sources/<name>")
def show_one(name: str) -> Response:
    """One source: its hook, its grants, what happened lately, what needs attention."""
    require("view")
    with farm().database.read() as session:
        source = sources.source_detail(session, name)
        recent, _ = list_builds(session, source=name, limit=_RECENT)
        deliveries, _ = show.list_deliveries(session, source=name, limit=_RECENT)
        step = steps_of(session, [source.id])[source.id]
        told, order = answering(session, source.id), newest(session, source.id)
    return page(
        "sources/show.html", source=source, builds=recent, deliveries=deliveries, hook_url=_hook_url(name),
        notices=[*notices(source, step, recent, deliveries), *notices_of_answers(told)], step=step,
        branches=[b for b in source.branches if "*" not in b], answering=told, order=order,
        has_api=source.scm in API_KINDS,
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


@blueprint.post("/sources/<name>/projects")
def grant(name: str) -> Redirect:
    """Let a source publish projects."""
    check_form()
    who = require("admin")
    with farm().database.begin() as session:
        names.make_local(session, _words("projects"), sources.get(session, name), actor=who.name)
    return redirect(f"/sources/{name}", 303)


@blueprint.post("/sources/<name>/secrets")
def rotate(name: str) -> Response:
    """Make new secrets beside the old ones, and show them this once."""
    check_form()
    who = require("admin")
    with farm().database.begin() as session:
        source = sources.get(session, name)
        secrets = connect.rotate_secrets(session, source, actor=who.name)
    return _secrets_page(source.name, source.scm, secrets)


def _secrets_page(name: str, scm: str, secrets: connect.HookSecrets) -> Response:
    return page("sources/secrets.html", name=name, scm=scm, secrets=secrets, hook_url=_hook_url(name))


def _hook_url(name: str) -> str:
    return connect.hook_url(farm().settings.public_url, name)


def _words(field: str) -> list[str]:
    return request.form.get(field, "").replace(",", " ").split()
