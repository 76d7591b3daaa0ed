"""`/mirrors`: what is mirrored, how the upstreams answer, what the guard did not let through."""

from __future__ import annotations

from flask import Blueprint, Response, request

from buildfarm.mirror import show
from webapp.context import farm, require
from webapp.pages.shell import page

blueprint = Blueprint("mirrors", __name__)
_ROWS = 100


@blueprint.get("/mirrors")
def mirrors() -> Response:
    """Upstreams, what was not let through, projects."""
    require("view")
    after = request.args.get("after", "")
    with farm().database.read() as session:
        projects = show.projects(session, after, _ROWS + 1)
        return page(
            "mirrors.html", health=show.health(session), events=show.events(session, limit=50),
            projects=projects[:_ROWS], following=projects[_ROWS - 1].name if len(projects) > _ROWS else "",
        )  # fmt: skip
