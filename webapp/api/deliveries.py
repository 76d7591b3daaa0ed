"""`/api/v1/deliveries`: the ledger of webhook calls."""

from __future__ import annotations

from flask import Blueprint, Response
from pydantic import Field

from buildfarm.farm.show import BuildDetail, build_detail
from buildfarm.scm import replay, show
from buildfarm.scm.show import DeliveryDetail, DeliveryRow
from webapp.api.answer import answer, page
from webapp.api.effects import hand_over
from webapp.api.spec import Page, PageQuery, answers, spec
from webapp.context import farm, require

blueprint = Blueprint("deliveries", __name__)
_TAGS = ["deliveries"]


class DeliveryQuery(PageQuery):
    """Which deliveries; `search` is words of which each must be in one, or a time such as `2026-11-29T14`."""

    source: str | None = None
    state: str | None = None
    search: str | None = Field(default=None, max_length=200)


@blueprint.get("/deliveries")
@spec.validate(resp=answers(Page[DeliveryRow]), tags=_TAGS)
def list_all(query: DeliveryQuery) -> Response:
    """Deliveries, the newest first, whatever became of them."""
    require("view")
    with farm().database.read() as session:
        rows, following = show.list_deliveries(
            session,
            source=query.source,
            state=query.state,
            search=query.search,
            before=query.before,
            limit=query.limit,
        )
    return page(rows, following)


@blueprint.get("/deliveries/<delivery_id>")
@spec.validate(resp=answers(DeliveryDetail), tags=_TAGS)
def show_one(delivery_id: str) -> Response:
    """One delivery: what came, each check of the verdict, what to do next, the builds it started."""
    require("view")
    with farm().database.read() as session:
        return answer(show.delivery_detail(session, delivery_id))


@blueprint.post("/deliveries/<delivery_id>/replay")
@spec.validate(resp=answers(Page[BuildDetail], 201), tags=_TAGS)
def replay_one(delivery_id: str) -> Response:
    """Start another build for each thing that a verified delivery announced; 409 says why there is none."""
    who = require("build")
    with farm().database.begin() as session:
        made = [build.id for build in replay.replay(session, delivery_id, actor=who.name)]
    hand_over()
    with farm().database.read() as session:
        return page([build_detail(session, build_id) for build_id in made], status=201)
