"""`/projects`: what can be installed from here."""

from __future__ import annotations

from flask import Blueprint, Response

from buildfarm.index import namespaces, show
from webapp.context import farm, require
from webapp.pages.query import text
from webapp.pages.shell import page

blueprint = Blueprint("projects", __name__)
_RECENT = 20


@blueprint.get("/projects")
def list_all() -> Response:
    """Projects by name, those that hold `q`."""
    require("view")
    with farm().database.read() as session:
        rows, following = show.list_projects(session, q=text("q"), after=text("after"))
        ladder, reserved = show.list_channels(session), namespaces.list_rows(session)
    return page(
        "projects/list.html", rows=rows, following=following, ladder=ladder, namespaces=reserved,
        q=text("q") or "",
    )  # fmt: skip


@blueprint.get("/projects/<name>")
def show_one(name: str) -> Response:
    """One project with its releases and how far up the channels each is."""
    require("view")
    with farm().database.read() as session:
        project = show.project_detail(session, name)
        promotions, _ = show.list_promotions(session, project=project.name, limit=_RECENT)
    return page("projects/show.html", project=project, promotions=promotions)
