"""`/api/v1/promotions`: releases that climbed to the next channel, and those taken down again."""

from __future__ import annotations

from flask import Blueprint, Response
from pydantic import Field

from buildfarm.index import promote, show
from buildfarm.index.model import Promotion
from buildfarm.index.show import PromotionRow
from webapp.api.answer import answer, page
from webapp.api.effects import wait_visible
from webapp.api.spec import Body, Page, PageQuery, answers, spec
from webapp.context import farm, require

blueprint = Blueprint("promotions", __name__)
_TAGS = ["promotions"]


class PromotionQuery(PageQuery):
    """Which promotions."""

    project: str | None = None


class NewPromotion(Body):
    """What to promote, and between which channels."""

    project: str
    version: str
    from_channel: str = Field(alias="from")
    to_channel: str = Field(alias="to")


@blueprint.get("/promotions")
@spec.validate(resp=answers(Page[PromotionRow]), tags=_TAGS)
def list_all(query: PromotionQuery) -> Response:
    """Promotions, the newest first."""
    require("view")
    with farm().database.read() as session:
        rows, following = show.list_promotions(
            session, project=query.project, before=query.before, limit=query.limit
        )
    return page(rows, following)


@blueprint.post("/promotions")
@spec.validate(resp=answers(PromotionRow, 201), tags=_TAGS)
def add(json: NewPromotion) -> Response:
    """Add what one channel holds of a release to another; every client sees it when this answers."""
    who = require("promote", json.to_channel)
    with farm().database.begin() as session:
        promotion = farm().admission.promote(
            session, project=json.project, version=json.version, from_channel=json.from_channel,
            to_channel=json.to_channel, actor=who.name,
        )  # fmt: skip
    wait_visible(session)
    return answer(show.promotion_row(promotion), 201)


@blueprint.post("/promotions/<promotion_id>/undo")
@spec.validate(resp=answers(PromotionRow, 201), tags=_TAGS)
def undo(promotion_id: str) -> Response:
    """Take out of the channel what a promotion brought in; the answer is the promotion that reverts it."""
    with farm().database.begin() as session:
        known = session.get(Promotion, promotion_id)
        who = require("promote", known.to_channel if known else "*")
        revert = promote.undo(session, promotion_id, actor=who.name)
    wait_visible(session)
    return answer(show.promotion_row(revert), 201)
