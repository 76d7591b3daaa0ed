"""`/waves`: releases built again because of one change, what a wave would do, and its promotion as one."""

from __future__ import annotations

from dataclasses import asdict
from itertools import groupby

from flask import Blueprint, Response, redirect, request
from sqlalchemy.orm import Session
from werkzeug.wrappers import Response as Redirect

from buildfarm.errors import InvalidInput
from buildfarm.farm.builds import FIRST_CHANNEL
from buildfarm.index import show as index
from buildfarm.index.channels import Kind as ChannelKind
from buildfarm.waves import preview as previews
from buildfarm.waves import promotion, run, show
from buildfarm.waves.offers import offers
from buildfarm.waves.preview import Preview
from buildfarm.waves.triggers import Kind, Trigger
from webapp.api.effects import hand_over, wait_visible, withdraw
from webapp.context import check_form, farm, require
from webapp.pages.query import text
from webapp.pages.shell import page

blueprint = Blueprint("waves", __name__)


@blueprint.get("/waves")
def list_all() -> Response:
    """Waves, the newest first, what others are offered, and the form for one."""
    require("view")
    with farm().database.read() as session:
        rows, following = show.list_waves(session, before=text("before"))
        rungs = [row.name for row in index.list_channels(session) if row.kind == ChannelKind.DURABLE]
        offered = offers(session, farm().blobs, channel=FIRST_CHANNEL)
    return page(
        "waves/list.html", rows=rows, following=following, kinds=list(Kind), rungs=rungs, offered=offered
    )


@blueprint.get("/waves/preview")
def preview() -> Response:
    """What a wave would do, before it does."""
    require("view")
    with farm().database.read() as session:
        planned = _planned(session, text("trigger"), text("subject"), text("channel"))
    return page("waves/preview.html", planned=planned, levels=_by_level(asdict(planned)["members"]))


@blueprint.post("/waves")
def open_one() -> Redirect:
    """Open the wave that the preview showed, as it is now."""
    check_form()
    who = require("build")
    trigger, subject, channel = (request.form.get(name) for name in ("trigger", "subject", "channel"))
    with farm().database.read() as session:
        planned = _planned(session, trigger, subject, channel)
    with farm().database.begin() as session:
        wave = run.open_wave(session, planned, actor=who.name)
    hand_over()
    return redirect(f"/waves/{wave.id}", 303)


@blueprint.get("/waves/<wave_id>")
def show_one(wave_id: str) -> Response:
    """One wave, level by level."""
    require("view")
    with farm().database.read() as session:
        wave = show.wave_detail(session, wave_id)
    return page("waves/show.html", wave=wave, levels=_by_level(asdict(wave)["members"]))


@blueprint.post("/waves/<wave_id>/cancel")
def cancel(wave_id: str) -> Redirect:
    """End a wave."""
    check_form()
    who = require("build")
    with farm().database.begin() as session:
        _wave, called_off = run.cancel(session, wave_id, actor=who.name)
    for build_id in called_off:
        withdraw(build_id)
    wait_visible(session)
    return redirect(f"/waves/{wave_id}", 303)


@blueprint.post("/waves/<wave_id>/promote")
def promote(wave_id: str) -> Redirect:
    """Move all new files of a wave into its channel."""
    check_form()
    is_partial = request.form.get("partial") == "yes"
    with farm().database.begin() as session:
        require("promote")
        who = require("promote", show.wave_detail(session, wave_id).channel)
        promotion.promote(session, farm().admission, wave_id, is_partial=is_partial, actor=who.name)
    wait_visible(session)
    return redirect(f"/waves/{wave_id}", 303)


@blueprint.post("/waves/<wave_id>/undo")
def undo(wave_id: str) -> Redirect:
    """Take all files of a wave out of its channel again."""
    check_form()
    with farm().database.begin() as session:
        require("promote")
        who = require("promote", show.wave_detail(session, wave_id).channel)
        promotion.undo(session, wave_id, actor=who.name)
    wait_visible(session)
    return redirect(f"/waves/{wave_id}", 303)


def _planned(session: Session, trigger: str | None, subject: str | None, channel: str | None) -> Preview:
    if trigger not in set(Kind) or not subject or not channel:
        raise InvalidInput("Say what is new, and for which channel.", code="wave.trigger")
    return previews.preview(
        session, farm().blobs, farm().settings, Trigger(Kind(trigger), subject), channel=channel
    )


def _by_level(members: list[dict[str, object]]) -> list[tuple[object, list[dict[str, object]]]]:
    return [(level, list(some)) for level, some in groupby(members, key=lambda one: one["level"])]
