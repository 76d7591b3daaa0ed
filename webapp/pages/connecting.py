"""The forms of a source's page that connect it: the token for its SCM, and the hook there."""

from __future__ import annotations

from flask import Blueprint, redirect, request
from werkzeug.wrappers import Response as Redirect

from buildfarm.scm.answers import outbox
from buildfarm.scm.forges import access
from buildfarm.scm.forges.access import Given
from buildfarm.scm.hooking import orders
from buildfarm.scm.hooking.rules import Verb
from buildfarm.sources import show
from webapp.api.effects import hand_over
from webapp.context import check_form, farm, require

blueprint = Blueprint("connecting", __name__)


@blueprint.post("/sources/<name>/scm-token")
def set_token(name: str) -> Redirect:
    """Keep the token for the SCM's API, and look for the hook with it."""
    check_form()
    who, form = require("admin"), request.form
    given = Given(form.get("token", "").strip(), form.get("api_url", "").strip())
    with farm().database.begin() as session:
        source = show.get(session, name)
        row = access.set_access(session, source, given, actor=who.name)
        outbox.address_again(session, source.id, row.host)
        orders.place(session, source, Verb.CHECK, actor=who.name)
    hand_over()
    return redirect(f"/sources/{name}#connected", 303)


@blueprint.post("/sources/<name>/scm-hook")
def order(name: str) -> Redirect:
    """Have a worker look at the hook, repair, rotate or remove it."""
    check_form()
    who, verb = require("admin"), request.form.get("verb", "")
    with farm().database.begin() as session:
        source = show.get(session, name)
        orders.place(session, source, orders.verb_of(verb), actor=who.name)
    hand_over()
    return redirect(f"/sources/{name}#connected", 303)
