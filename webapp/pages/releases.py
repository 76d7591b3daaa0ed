"""`/projects/<name>/<version>`: a release, where its files come from, and how it climbs the channels."""

from __future__ import annotations

from dataclasses import replace

from flask import Blueprint, Response, redirect, request
from markupsafe import Markup
from sqlalchemy.orm import Session
from werkzeug.wrappers import Response as Redirect

from buildfarm.access.rules import Principal
from buildfarm.errors import NotFound
from buildfarm.index import promote, show
from buildfarm.index.model import Promotion
from buildfarm.index.show import ReleaseDetail
from buildfarm.index.showfiles import FileRow
from buildfarm.wheels.descriptions import Description, render
from webapp.api.effects import wait_visible
from webapp.context import check_form, farm, require
from webapp.pages.shell import page

blueprint = Blueprint("releases", __name__)
_PROMOTIONS = 200


@blueprint.get("/projects/<name>/<version>")
def show_one(name: str, version: str) -> Response:
    """One release."""
    require("view")
    with farm().database.read() as session:
        release = show.release_detail(session, name, version)
        promotions = _promotions(session, release)
    top = next((rung.channel for rung in reversed(release.channels) if rung.files), "dev")
    return page(
        "releases/show.html", release=release, promotions=promotions, top=top,
        done=request.args.get("done"), description=_description(release),
    )  # fmt: skip


@blueprint.get("/projects/<name>/<version>/promote")
def confirm(name: str, version: str) -> Response:
    """What a promotion would change, before it does."""
    lower, upper = request.args.get("from", ""), request.args.get("to", "")
    require("promote", upper)
    with farm().database.read() as session:
        release = show.release_detail(session, name, version)
        replaced = _held(session, name, upper)
    fresh = [file for file in release.files if _enters(file, lower, upper)]
    return page(
        "releases/promote.html", release=release, lower=lower, upper=upper, fresh=fresh, replaced=replaced
    )


@blueprint.post("/projects/<name>/<version>/promote")
def apply(name: str, version: str) -> Redirect:
    """Add what one channel holds of the release to another."""
    check_form()
    lower, upper = request.form.get("from", ""), request.form.get("to", "")
    who = require("promote", upper)
    with farm().database.begin() as session:
        farm().admission.promote(
            session, project=name, version=version, from_channel=lower, to_channel=upper, actor=who.name
        )
    wait_visible(session)
    return redirect(f"/projects/{name}/{version}?done=promoted", 303)


@blueprint.post("/promotions/<promotion_id>/undo")
def undo(promotion_id: str) -> Redirect:
    """Take out of the channel what a promotion brought in."""
    check_form()
    require("promote")
    with farm().database.begin() as session:
        known = session.get(Promotion, promotion_id)
        if known is None:
            raise NotFound(f"There is no promotion {promotion_id}.", code="promotion.unknown")
        who = require("promote", known.to_channel)
        promote.undo(session, promotion_id, actor=who.name)
    wait_visible(session)
    return redirect(f"/projects/{known.project}/{known.version}?done=undone", 303)


@blueprint.post("/projects/<name>/<version>/yank")
def yank(name: str, version: str) -> Redirect:
    """Mark the release as yanked, with a reason that clients show."""
    check_form()
    reason = request.form.get("reason", "").strip()
    with farm().database.begin() as session:
        who = _require_all(session, name, version)
        promote.yank(session, project=name, version=version, reason=reason, actor=who.name)
    wait_visible(session)
    return redirect(f"/projects/{name}/{version}?done=yanked", 303)


@blueprint.post("/projects/<name>/<version>/unyank")
def unyank(name: str, version: str) -> Redirect:
    """Take the mark away."""
    check_form()
    with farm().database.begin() as session:
        who = _require_all(session, name, version)
        promote.unyank(session, project=name, version=version, actor=who.name)
    wait_visible(session)
    return redirect(f"/projects/{name}/{version}?done=unyanked", 303)


def _require_all(session: Session, name: str, version: str) -> Principal:
    """The principal, when it may yank in every channel that lists the release."""
    who = require("promote")
    for rung in show.release_detail(session, name, version).channels:
        if rung.files:
            who = require("promote", rung.channel)
    return who


def _enters(file: FileRow, lower: str, upper: str) -> bool:
    return lower in file.channels and upper not in file.channels


def _held(session: Session, name: str, channel: str) -> str | None:
    """The highest version that the channel offers now; None when it has none."""
    releases = show.project_detail(session, name).releases
    held = [row for row in releases for rung in row.channels if rung.channel == channel and rung.files]
    return next((row.version for row in held if not row.yanked), None)


def _description(release: ReleaseDetail) -> Description | None:
    blobs, digest = farm().blobs, release.metadata_sha256
    if not digest or not blobs.has(digest):
        return None
    found = render(blobs.read(digest))
    return replace(found, html=Markup(found.html))  # noqa: S704 -- went through the renderer's allow-list


def _promotions(session: Session, release: ReleaseDetail) -> list[show.PromotionRow]:
    rows, _ = show.list_promotions(session, project=release.project, limit=_PROMOTIONS)
    return [row for row in rows if row.version == release.version]
