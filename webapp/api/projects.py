"""`/api/v1/projects`: the names that are ours."""

from __future__ import annotations

from flask import Blueprint, Response
from pydantic import Field

from buildfarm.index import show
from buildfarm.index.show import ProjectDetail, ProjectRow
from webapp.api.answer import answer, page
from webapp.api.spec import Body, Page, answers, spec
from webapp.context import farm, require

blueprint = Blueprint("projects", __name__)
_TAGS = ["projects"]


class ProjectQuery(Body):
    """Which projects: those that hold `q`, after the name `after`."""

    q: str | None = None
    after: str | None = None
    limit: int = Field(50, ge=1, le=200)


@blueprint.get("/projects")
@spec.validate(resp=answers(Page[ProjectRow]), tags=_TAGS)
def list_all(query: ProjectQuery) -> Response:
    """Projects, by name."""
    require("view")
    with farm().database.read() as session:
        rows, following = show.list_projects(session, q=query.q, after=query.after, limit=query.limit)
    return page(rows, following)


@blueprint.get("/projects/<name>")
@spec.validate(resp=answers(ProjectDetail), tags=_TAGS)
def show_one(name: str) -> Response:
    """One project with its releases, and how far up the channels each is."""
    require("view")
    with farm().database.read() as session:
        return answer(show.project_detail(session, name))
