"""`/deliveries`: the ledger of webhook calls, each with its verdict and what to do about it."""

from __future__ import annotations

from flask import Blueprint, Response, redirect
from werkzeug.wrappers import Response as Redirect

from buildfarm.scm import replay, show
from buildfarm.sources.show import list_sources
from webapp.api.effects import hand_over
from webapp.context import check_form, farm, require
from webapp.pages.query import text
from webapp.pages.shell import page

blueprint = Blueprint("deliveries", __name__)
STATES = ("accepted", "ignored", "rejected", "duplicate")


@blueprint.get("/deliveries")
def list_all() -> Response:
    """Deliveries, the newest first."""
    require("view")
    chosen = {name: text(name) for name in ("source", "state", "search")}
    with farm().database.read() as session:
        rows, following = show.list_deliveries(
            session, source=text("source"), state=text("state"), search=text("search"), before=text("before")
        )
        names = [row.name for row in list_sources(session)]
    return page(
        "deliveries/list.html",
        rows=rows,
        following=following,
        names=names,
        states=STATES,
        chosen=chosen,
    )


@blueprint.get("/deliveries/<delivery_id>")
def show_one(delivery_id: str) -> Response:
    """One delivery."""
    require("view")
    with farm().database.read() as session:
        delivery = show.delivery_detail(session, delivery_id)
    is_replayable = delivery.state in replay.REPLAYABLE and delivery.body_bytes is not None
    return page("deliveries/show.html", delivery=delivery, is_replayable=is_replayable)


@blueprint.post("/deliveries/<delivery_id>/replay")
def replay_one(delivery_id: str) -> Redirect:
    """Start another build for each thing that a delivery announced."""
    check_form()
    who = require("build")
    with farm().database.begin() as session:
        made = [build.id for build in replay.replay(session, delivery_id, actor=who.name)]
    hand_over()
    return redirect(f"/builds/{made[0]}" if len(made) == 1 else f"/deliveries/{delivery_id}", 303)
