"""`/api/v1/connections` and the repositories that they offer: one hook for all of an owner's repositories."""

from __future__ import annotations

from dataclasses import dataclass

from flask import Blueprint, Response
from pydantic import Field

from buildfarm.scm import connect, connections
from buildfarm.scm.offered import offers
from buildfarm.scm.offered.offers import OfferRow
from buildfarm.sources import show
from buildfarm.sources.show import SourceRow
from webapp.api.accepting import accepted
from webapp.api.answer import answer, page
from webapp.api.effects import hand_over
from webapp.api.given import NewHooked, SourceSecrets, added, hook_url, row_now
from webapp.api.spec import Body, Page, PageQuery, answers, spec
from webapp.context import farm, require

blueprint = Blueprint("connections", __name__)
_TAGS = ["connections"]


@dataclass(frozen=True)
class ConnectionAnswer(SourceRow):
    """A connection: its owner's `url`, its hook's, and what the sources that come of it are given."""

    hook_url: str


@dataclass(frozen=True)
class AcceptedAnswer(SourceRow):
    """A source that was offered, and the build of what was pushed.

    Where that is not built `not_built` says why and what to do, and `code` is the stable word for it.
    """

    build: str | None
    build_url: str | None
    not_built: str | None
    code: str | None


class NewConnection(NewHooked):
    """An organisation, group, project or workspace to listen to; without `scm` its URL decides.

    `branches`, `tags`, `tier`, credential and token are given to each source that comes of it.
    """


class OfferQuery(PageQuery):
    """Which repositories: in this state (offered where none is given, `all` for any), at this URL."""

    state: str = Field("offered", pattern="^(offered|plain|unreadable|waiting|accepted|dismissed|all)$")
    url: str | None = None


class Acceptance(Body):
    """What the source is called (without a name: as the repository), and what it may publish."""

    name: str | None = None
    projects: list[str] = []


@blueprint.get("/connections")
@spec.validate(resp=answers(Page[ConnectionAnswer]), tags=_TAGS)
def list_all() -> Response:
    """Every connection, by name."""
    require("view")
    with farm().database.read() as session:
        rows = show.list_connections(session)
    return page([ConnectionAnswer(**vars(row), hook_url=hook_url(row.name)) for row in rows])


@blueprint.post("/connections")
@spec.validate(resp=answers(SourceSecrets, 201), tags=_TAGS)
def add(json: NewConnection) -> Response:
    """Listen to all repositories of an owner; the answer holds the secrets of the one hook."""
    who = require("admin")
    with farm().database.begin() as session:
        made, secrets = connections.add_connection(
            session, json.name, json.url, scm=json.scm, branches=json.branches, tags=json.tags,
            tier=json.tier, actor=who.name,
        )  # fmt: skip
        return added(session, made, json, secrets, actor=who.name)


@blueprint.get("/connections/<name>")
@spec.validate(resp=answers(ConnectionAnswer), tags=_TAGS)
def show_one(name: str) -> Response:
    """One connection."""
    require("view")
    with farm().database.read() as session:
        row = show.source_row(show.get_connection(session, name))
    return answer(ConnectionAnswer(**vars(row), hook_url=hook_url(name)))


@blueprint.delete("/connections/<name>")
@spec.validate(resp=answers(SourceRow), tags=_TAGS)
def remove(name: str) -> Response:
    """Take no more calls of the hook; the sources that came of it stay, and what it offered goes."""
    who = require("admin")
    with farm().database.begin() as session:
        row = show.get_connection(session, name)
        before = show.source_row(row)
        offers.forget(session, row)
        connect.remove_source(session, row, actor=who.name)
    return answer(before)


@blueprint.get("/offered-repositories")
@spec.validate(resp=answers(Page[OfferRow]), tags=_TAGS)
def list_offered(query: OfferQuery) -> Response:
    """Repositories that connections told of and no source listens to, the last pushed first."""
    require("view")
    states = () if query.state == "all" else (query.state,)
    with farm().database.read() as session:
        rows, following = offers.list_offers(
            session, states=states, url=query.url, before=query.before, limit=query.limit
        )
    return page(rows, following)


@blueprint.post("/offered-repositories/<offer_id>/accept")
@spec.validate(resp=answers(AcceptedAnswer, 201), tags=_TAGS)
def accept(offer_id: str, json: Acceptance) -> Response:
    """Listen to it: a source that needs no hook of its own; what was pushed is built."""
    who = require("admin")
    with farm().database.begin() as session:
        made = accepted(session, offer_id, name=json.name, projects=json.projects, actor=who.name)
        row = AcceptedAnswer(
            **vars(row_now(session, made.source)), build=made.build, build_url=made.build_url,
            not_built=str(made.refused) if made.refused else None,
            code=made.refused.code if made.refused else None,
        )  # fmt: skip
    hand_over()
    return answer(row, 201)


@blueprint.post("/offered-repositories/<offer_id>/dismiss")
@spec.validate(resp=answers(OfferRow), tags=_TAGS)
def dismiss(offer_id: str) -> Response:
    """Offer it no more, whatever is pushed to it."""
    require("admin")
    with farm().database.begin() as session:
        return answer(offers.dismiss(session, offer_id))
