"""`/connections`: one hook for all repositories of an owner, and the repositories that it offers."""

from __future__ import annotations

from urllib.parse import urlencode

from flask import Blueprint, Response, redirect, request
from werkzeug.wrappers import Response as Redirect

from buildfarm.scm import connections, show
from buildfarm.scm.offered import offers
from buildfarm.sources import show as sources
from webapp.api.accepting import accepted
from webapp.api.effects import hand_over
from webapp.api.given import hook_url
from webapp.context import check_form, farm, require
from webapp.pages.attention import notices_of_scm
from webapp.pages.connecting import facts_of_scm, take_token
from webapp.pages.query import words
from webapp.pages.shell import page

blueprint = Blueprint("connections", __name__)
_RECENT = 10


@blueprint.post("/connections")
def add() -> Response | Redirect:
    """Listen to all repositories of an owner; without a token the answer shows what is to be entered."""
    check_form()
    who, form = require("admin"), request.form
    with farm().database.begin() as session:
        made, secrets = connections.add_connection(
            session, form.get("name", "").strip(), form.get("url", "").strip(), scm=form.get("scm") or None,
            branches=words("branches"), tier=form.get("tier", "dev"), actor=who.name,
        )  # fmt: skip
        installs = take_token(session, made, installs=True, actor=who.name)
    if installs:
        hand_over()
        return redirect(f"/connections/{made.name}#connected", 303)
    return page(
        "sources/secrets.html", name=made.name, scm=made.scm, secrets=secrets, hook_url=hook_url(made.name),
        home="connections", of_owner=True,
    )  # fmt: skip


@blueprint.get("/connections/<name>")
def show_one(name: str) -> Response:
    """One connection: its hook, what it offers, what it told lately."""
    require("view")
    with farm().database.read() as session:
        row = sources.source_row(sources.get_connection(session, name))
        deliveries, _ = show.list_deliveries(session, source=name, limit=_RECENT)
        scm = facts_of_scm(session, row)
        told, more = offers.list_offers(session, states=(), connection=name)
    return page(
        "connections/show.html", source=row, deliveries=deliveries, offered=told, hook_url=hook_url(name),
        of_owner=True, more_offered=more, **scm,
        notices=notices_of_scm(f"connection {name}", scm["answering"], scm["watch"]),
    )  # fmt: skip


@blueprint.post("/offered/<offer_id>/accept")
def accept(offer_id: str) -> Redirect:
    """Listen to an offered repository; leads to the build of what was pushed, or to why there is none."""
    check_form()
    who, name = require("admin"), request.form.get("name", "").strip() or None
    with farm().database.begin() as session:
        made = accepted(session, offer_id, name=name, projects=words("projects"), actor=who.name)
    hand_over()
    if made.build:
        return redirect(f"/builds/{made.build}", 303)
    return redirect(f"/sources/{made.source.name}?{urlencode({'pushed': made.ref})}", 303)


@blueprint.post("/offered/<offer_id>/dismiss")
def dismiss(offer_id: str) -> Redirect:
    """Offer a repository no more."""
    check_form()
    require("admin")
    with farm().database.begin() as session:
        offers.dismiss(session, offer_id)
    return redirect("/sources#offered", 303)
