"""`/api/v1/waves`: releases built again because of one change, and promoted as one."""

from __future__ import annotations

from flask import Blueprint, Response

from buildfarm.farm.builds import FIRST_CHANNEL
from buildfarm.waves import preview as previews
from buildfarm.waves import promotion, run, show
from buildfarm.waves.offers import Offer, offers
from buildfarm.waves.preview import Preview
from buildfarm.waves.show import WaveRow
from buildfarm.waves.triggers import Kind, Trigger
from webapp.api.answer import answer, page
from webapp.api.effects import hand_over, wait_visible, withdraw
from webapp.api.spec import Body, Page, PageQuery, answers, spec
from webapp.context import farm, require

blueprint = Blueprint("waves", __name__)
_TAGS = ["waves"]


class NewWave(Body):
    """What is new, and whose releases are built again for it.

    `subject` is the suite of an image, an interpreter as `cp314`, or `NAME` or `NAME==VERSION`.
    """

    trigger: Kind
    subject: str
    channel: str = FIRST_CHANNEL


class OfferQuery(Body):
    """Whose releases."""

    channel: str = FIRST_CHANNEL


class WavePromotion(Body):
    """Whether to leave behind what failed."""

    partial: bool = False


@blueprint.get("/waves")
@spec.validate(resp=answers(Page[WaveRow]), tags=_TAGS)
def list_all(query: PageQuery) -> Response:
    """Waves, the newest first."""
    require("view")
    with farm().database.read() as session:
        rows, following = show.list_waves(session, before=query.before, limit=query.limit)
    return page(rows, following)


@blueprint.get("/waves/offers")
@spec.validate(resp=answers(Page[Offer]), tags=_TAGS)
def list_offers(query: OfferQuery) -> Response:
    """What a wave would be good for now, by what was built before something newer was here."""
    require("view")
    with farm().database.read() as session:
        return page(offers(session, farm().blobs, channel=query.channel))


@blueprint.post("/waves/preview")
@spec.validate(resp=answers(Preview), tags=_TAGS)
def preview(json: NewWave) -> Response:
    """What a wave would build, in which order, why and how long; nothing is started."""
    require("view")
    trigger = Trigger(json.trigger, json.subject)
    with farm().database.read() as session:
        return answer(previews.preview(session, farm().blobs, farm().settings, trigger, channel=json.channel))


@blueprint.post("/waves")
@spec.validate(resp=answers(WaveRow, 201), tags=_TAGS)
def add(json: NewWave) -> Response:
    """Open a wave: its first builds are queued when this answers."""
    who = require("build")
    trigger = Trigger(json.trigger, json.subject)
    with farm().database.read() as session:
        planned = previews.preview(session, farm().blobs, farm().settings, trigger, channel=json.channel)
    with farm().database.begin() as session:
        wave = show.wave_row(run.open_wave(session, planned, actor=who.name))
    hand_over()
    return answer(wave, 201)


@blueprint.get("/waves/<wave_id>")
@spec.validate(resp=answers(WaveRow), tags=_TAGS)
def show_one(wave_id: str) -> Response:
    """One wave."""
    require("view")
    with farm().database.read() as session:
        return answer(show.wave_detail(session, wave_id))


@blueprint.post("/waves/<wave_id>/cancel")
@spec.validate(resp=answers(WaveRow), tags=_TAGS)
def cancel(wave_id: str) -> Response:
    """End a wave: what waits is not built, what runs is told to stop, the candidate is emptied."""
    who = require("build")
    with farm().database.begin() as session:
        wave, called_off = run.cancel(session, wave_id, actor=who.name)
        row = show.wave_row(wave)
    for build_id in called_off:
        withdraw(build_id)
    wait_visible(session)
    return answer(row)


@blueprint.post("/waves/<wave_id>/promote")
@spec.validate(resp=answers(WaveRow), tags=_TAGS)
def promote(wave_id: str, json: WavePromotion) -> Response:
    """Move all new files of a wave into its channel at once; every client sees it when this answers."""
    who = require("promote", _channel(wave_id))
    with farm().database.begin() as session:
        row = show.wave_row(
            promotion.promote(session, farm().admission, wave_id, is_partial=json.partial, actor=who.name)
        )
    wait_visible(session)
    return answer(row)


@blueprint.post("/waves/<wave_id>/undo")
@spec.validate(resp=answers(WaveRow), tags=_TAGS)
def undo(wave_id: str) -> Response:
    """Take all files of a wave out of its channel again; the wave is `ready` as before."""
    who = require("promote", _channel(wave_id))
    with farm().database.begin() as session:
        row = show.wave_row(promotion.undo(session, wave_id, actor=who.name))
    wait_visible(session)
    return answer(row)


def _channel(wave_id: str) -> str:
    """Where a wave's files go; of one that is not there nobody learns more than that, if they may promote."""
    require("promote")
    with farm().database.read() as session:
        return show.wave_detail(session, wave_id).channel
