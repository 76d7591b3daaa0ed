"""`/api/v1/sources/<name>/pull-requests`: those that are open, and leave for commits of forks."""

from __future__ import annotations

from flask import Blueprint, Response
from pydantic import Field

from buildfarm.farm.show import BuildDetail, build_detail
from buildfarm.scm import pulls as scm_pulls
from buildfarm.sources import pulls, show
from buildfarm.sources.pulls import PullRequestRow
from webapp.api.answer import answer, page
from webapp.api.effects import hand_over
from webapp.api.spec import Body, Page, PageQuery, answers, spec
from webapp.context import farm, require

blueprint = Blueprint("pulls", __name__)
_TAGS = ["sources"]


class NewApproval(Body):
    """The commit that somebody looked at: the whole id."""

    commit: str


class RequestQuery(PageQuery):
    """Which part of the list; `before` is a number."""

    before: int | None = Field(None, ge=1, lt=1 << 63)  # type: ignore[assignment]


@blueprint.get("/sources/<name>/pull-requests")
@spec.validate(resp=answers(Page[PullRequestRow]), tags=_TAGS)
def list_open(name: str, query: RequestQuery) -> Response:
    """Pull requests of a source that are open or have a stage, the newest first."""
    require("view")
    with farm().database.read() as session:
        source_id = show.get(session, name).id
        rows, following = pulls.list_open(session, source_id, name, before=query.before, limit=query.limit)
    return page(rows, following)


@blueprint.post("/sources/<name>/pull-requests/<int:number>/approvals")
@spec.validate(resp=answers(BuildDetail, 201), tags=_TAGS)
def approve(name: str, number: int, json: NewApproval) -> Response:
    """Let the head of a pull request from a fork be built; the answer is its build."""
    who = require("build")
    with farm().database.begin() as session:
        source = show.get(session, name)
        build = scm_pulls.approve(session, source, number, json.commit, actor=who.name)
    hand_over()
    with farm().database.read() as session:
        return answer(build_detail(session, build.id), 201)
