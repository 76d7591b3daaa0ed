"""`/api/v1/projects`: the names that are ours."""

from __future__ import annotations

from flask import Blueprint, Response
from pydantic import Field

from buildfarm.index import names, show, status
from buildfarm.index.show import ProjectDetail, ProjectRow
from webapp.api.answer import answer, page
from webapp.api.effects import wait_visible
from webapp.api.spec import Body, Page, answers, spec
from webapp.context import farm, require

blueprint = Blueprint("projects", __name__)
_TAGS = ["projects"]


class ProjectQuery(Body):
    """Which projects: those that hold `q`, after the name `after`."""

    q: str | None = None
    after: str | None = None
    limit: int = Field(50, ge=1, le=200)


class NewProject(Body):
    """A name to make local."""

    name: str


class NewStatus(Body):
    """A status marker and why; archived and quarantined projects take no new files."""

    status: str
    reason: str = ""


@blueprint.get("/projects")
@spec.validate(resp=answers(Page[ProjectRow]), tags=_TAGS)
def list_all(query: ProjectQuery) -> Response:
    """Projects, by name."""
    require("view")
    with farm().database.read() as session:
        rows, following = show.list_projects(session, q=query.q, after=query.after, limit=query.limit)
    return page(rows, following)


@blueprint.post("/projects")
@spec.validate(resp=answers(ProjectDetail, 201), tags=_TAGS)
def add(json: NewProject) -> Response:
    """Make a name local before anything is published under it; it is never asked upstream from now on."""
    who = require("admin")
    with farm().database.begin() as session:
        project = names.add_name(session, json.name, actor=who.name)
    return _shown(project.name, 201)


@blueprint.get("/projects/<name>")
@spec.validate(resp=answers(ProjectDetail), tags=_TAGS)
def show_one(name: str) -> Response:
    """One project with its releases, and how far up the channels each is."""
    require("view")
    return _shown(name)


@blueprint.put("/projects/<name>/status")
@spec.validate(resp=answers(ProjectDetail), tags=_TAGS)
def set_status(name: str, json: NewStatus) -> Response:
    """Mark a project as active, archived, quarantined or deprecated (PEP 792)."""
    who = require("admin")
    with farm().database.begin() as session:
        project = status.set_status(session, name, json.status, reason=json.reason, actor=who.name)
    wait_visible(session)
    return _shown(project.name)


def _shown(name: str, code: int = 200) -> Response:
    with farm().database.read() as session:
        return answer(show.project_detail(session, name), code)
