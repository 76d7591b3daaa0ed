"""`/queue`: what waits, who builds, on which images."""

from __future__ import annotations

from flask import Blueprint, Response, redirect, request
from werkzeug.wrappers import Response as Redirect

from buildfarm.farm import dispatch, registry
from buildfarm.farm.fleet import list_images, queue_health
from buildfarm.farm.logins import join_command
from buildfarm.farm.show import list_builds
from buildfarm.farm.waiting import obstacles_of
from webapp.api.effects import hand_over
from webapp.context import check_form, farm, require
from webapp.pages import home
from webapp.pages.shell import page

blueprint = Blueprint("machinery", __name__)


@blueprint.get("/queue")
def queue() -> Response:
    """Builders, waiting builds, images in use."""
    require("view")
    with farm().database.read() as session:
        health = queue_health(session, farm().settings)
        queued, running = (list_builds(session, state=state)[0] for state in ("queued", "running"))
        obstacles = obstacles_of(session, [build.id for build in queued + running], farm().settings)
        return page(
            "queue.html", health=health, join=join_command(farm().settings.public_url, "TOKEN"),
            sentence=home.sentence(health), images=list_images(session, farm().settings),
            queued=queued, running=running, obstacles=obstacles,
        )  # fmt: skip


@blueprint.post("/queue/pause")
def pause() -> Redirect:
    """Hand no job to any builder for now."""
    check_form()
    who = require("admin")
    with farm().database.begin() as session:
        dispatch.pause(session, actor=who.name, reason=request.form.get("reason", "").strip()[:500])
    return redirect("/queue", 303)


@blueprint.post("/queue/resume")
def resume() -> Redirect:
    """Hand jobs to builders again."""
    check_form()
    who = require("admin")
    with farm().database.begin() as session:
        dispatch.resume(session, actor=who.name)
    hand_over()
    return redirect("/queue", 303)


@blueprint.post("/builders/<name>/drain")
def drain(name: str) -> Redirect:
    """Let a builder finish what it has and take nothing more."""
    check_form()
    who = require("admin")
    with farm().database.begin() as session:
        registry.drain(session, name, actor=who.name)
    return redirect("/queue", 303)


@blueprint.post("/builders/<name>/undrain")
def undrain(name: str) -> Redirect:
    """Let a builder take work again."""
    check_form()
    who = require("admin")
    with farm().database.begin() as session:
        registry.undrain(session, name, actor=who.name)
    return redirect("/queue", 303)
