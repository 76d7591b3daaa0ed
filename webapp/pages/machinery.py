"""`/queue`: what waits, who builds, on which images."""

from __future__ import annotations

from flask import Blueprint, Response

from buildfarm.farm.fleet import list_images, queue_health
from buildfarm.farm.show import list_builds
from webapp.context import farm, require
from webapp.pages import home
from webapp.pages.shell import page

blueprint = Blueprint("machinery", __name__)


@blueprint.get("/queue")
def queue() -> Response:
    """Builders, waiting builds, images in use."""
    require("view")
    with farm().database.read() as session:
        health = queue_health(session)
        return page(
            "queue.html", health=health, sentence=home.sentence(health), images=list_images(session),
            queued=list_builds(session, state="queued")[0], running=list_builds(session, state="running")[0],
        )  # fmt: skip
