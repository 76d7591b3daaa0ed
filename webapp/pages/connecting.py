"""The forms of a source's page that connect it: the token for its SCM, and the hook there."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from flask import Blueprint, redirect, request
from sqlalchemy.orm import Session
from werkzeug.wrappers import Response as Redirect

from buildfarm.scm.answers import outbox
from buildfarm.scm.answers.show import answering
from buildfarm.scm.forges import access
from buildfarm.scm.forges.access import Given
from buildfarm.scm.forges.address import KINDS as API_KINDS
from buildfarm.scm.hooking import orders
from buildfarm.scm.hooking.rules import Verb
from buildfarm.scm.hooking.show import watched
from buildfarm.sources import show
from buildfarm.sources.model import Source
from buildfarm.sources.show import SourceRow
from webapp.api.effects import hand_over
from webapp.context import check_form, farm, require
from webapp.pages.steps import steps

blueprint = Blueprint("connecting", __name__)


def take_token(session: Session, source: Source, *, installs: bool, actor: str) -> bool:
    """Keep the token that a form gives, if it does, and have the hook installed; whether it will be."""
    given = Given(request.form.get("token", "").strip(), request.form.get("api_url", "").strip())
    if not given.token:
        return False
    access.set_access(session, source, given, actor=actor)
    if installs:
        orders.place(session, source, Verb.REPAIR, actor=actor)
    return installs


def facts_of_scm(session: Session, row: SourceRow, connection: Source | None = None) -> dict[str, Any]:
    """What `parts/connected.html` shows of a source or connection; its pushes may come by a connection."""
    covered = connection.name if connection else None
    told = answering(session, [row.id]).get(row.id)
    order, watch = orders.newest(session, row.id), watched(session, row.id)
    made = order.health.hook_id if order and order.health else None
    return {
        "answering": told,
        "order": order,
        "watch": watch,
        "steps": steps(told, order, watch, row.secrets, covered),
        "hook_id": (told.hook_id if told else None) or made,
        "covered": covered,
        "has_api": row.scm in API_KINDS and bool(urlsplit(row.url).path.strip("/")),
    }


@blueprint.post("/sources/<name>/scm-token")
def set_token(name: str) -> Redirect:
    """Keep the token for the SCM's API, and look for the hook with it."""
    check_form()
    who, form = require("admin"), request.form
    given = Given(form.get("token", "").strip(), form.get("api_url", "").strip())
    with farm().database.begin() as session:
        source = show.get_any(session, name)
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
        source = show.get_any(session, name)
        orders.place(session, source, orders.verb_of(verb), actor=who.name)
    hand_over()
    return redirect(f"/sources/{name}#connected", 303)
