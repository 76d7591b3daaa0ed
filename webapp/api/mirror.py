"""`/api/v1/mirror/...`: what is mirrored, how the upstreams answer, what was not let through."""

from __future__ import annotations

from dataclasses import dataclass

from flask import Blueprint, Response

from buildfarm.errors import Conflict
from buildfarm.index import names
from buildfarm.index.spelling import normal_name
from buildfarm.mirror import show
from webapp.api.answer import answer, page
from webapp.api.spec import Page, PageQuery, answers, spec
from webapp.context import farm, require

blueprint = Blueprint("mirror", __name__)
_TAGS = ["mirror"]


@dataclass(frozen=True)
class MirroredDetail(show.MirroredProject):
    """A project with its files, and with what the guard did not let through."""

    held: list[show.HeldFile]
    events: list[show.Event]


@blueprint.get("/mirror/projects")
@spec.validate(resp=answers(Page[show.MirroredProject]), tags=_TAGS)
def list_all(query: PageQuery) -> Response:
    """Projects that upstream was asked for and had, by name."""
    require("view")
    with farm().database.read() as session:
        rows = show.projects(session, query.before or "", query.limit + 1)
    following = rows[query.limit - 1].name if len(rows) > query.limit else None
    return page(rows[: query.limit], following)


@blueprint.get("/mirror/projects/<name>")
@spec.validate(resp=answers(MirroredDetail), tags=_TAGS)
def show_one(name: str) -> Response:
    """One project: the files that are here, what was refused, what was not let through."""
    require("view")
    return answer(_detail(normal_name(name)))


@blueprint.post("/mirror/projects/<name>/refresh")
@spec.validate(resp=answers(MirroredDetail), tags=_TAGS)
def refresh(name: str) -> Response:
    """Ask upstream now, however fresh the page is."""
    require("admin")
    normal = normal_name(name)
    with farm().database.read() as session:
        if names.is_ours(session, normal):
            raise Conflict(f"{normal} is a name of this farm; no upstream is asked for it.", code="name.ours")
    farm().upstream.pages.refresh(normal)
    return answer(_detail(normal))


@blueprint.post("/mirror/projects/<name>/evict")
@spec.validate(resp=answers(MirroredDetail), tags=_TAGS)
def evict(name: str) -> Response:
    """Let go of the files that are here; the validator looks anew at what it refused."""
    require("admin")
    normal = normal_name(name)
    detail = _detail(normal)
    farm().mirrored.evict(normal)
    return answer(detail)


@blueprint.get("/mirror/upstreams")
@spec.validate(resp=answers(Page[show.Health]), tags=_TAGS)
def upstreams() -> Response:
    """How each upstream index, and each host of its files, answers."""
    require("view")
    with farm().database.read() as session:
        return page(show.health(session))


@blueprint.get("/mirror/events")
@spec.validate(resp=answers(Page[show.Event]), tags=_TAGS)
def events() -> Response:
    """What was not let through, the newest first."""
    require("view")
    with farm().database.read() as session:
        return page(show.events(session))


def _detail(name: str) -> MirroredDetail:
    farm().upstream.tally.write()
    with farm().database.read() as session:
        held, seen = show.files(session, name), show.events(session, name)
        found = show.project(session, name)
    return MirroredDetail(**vars(found), held=held, events=seen)
