"""`/api/v1/builders`: the hosts that run attempts."""

from __future__ import annotations

from dataclasses import dataclass

from flask import Blueprint, Response
from pydantic import Field

from buildfarm.farm.fleet import BuilderRow, list_builders
from buildfarm.farm.logins import Joined, join, join_command, user_of
from buildfarm.farm.registry import add_builder, builder_of, drain, undrain
from buildfarm.sources.names import checked_name, checked_tier
from webapp.api.answer import answer, page
from webapp.api.spec import Body, Page, answers, spec
from webapp.context import farm, principal, require

blueprint = Blueprint("builders", __name__)
_TAGS = ["builders"]


@dataclass(frozen=True)
class BuilderSecret:
    """A builder with its token, which is shown this once, and the line that starts it on its host."""

    id: str
    name: str
    tiers: tuple[str, ...]
    token: str
    command: str


class NewBuilder(Body):
    """A host, and the tiers whose builds it may run; a known name gets a new token, the old one ends."""

    name: str
    tiers: list[str] = Field(min_length=1)


class NewHost(Body):
    """A host that wants to run a builder: its machine, and others that it was set up to emulate."""

    machine: str
    emulates: list[str] = Field([], max_length=10)


@blueprint.get("/builders")
@spec.validate(resp=answers(Page[BuilderRow]), tags=_TAGS)
def list_all() -> Response:
    """Builders, by name."""
    require("view")
    with farm().database.read() as session:
        return page(list_builders(session, farm().settings))


@blueprint.post("/builders")
@spec.validate(resp=answers(BuilderSecret, 201), tags=_TAGS)
def add(json: NewBuilder) -> Response:
    """Admit a builder."""
    who = require("admin")
    tiers = sorted({checked_tier(tier) for tier in json.tiers})
    with farm().database.begin() as session:
        builder, token = add_builder(session, checked_name(json.name), tiers, actor=who.name)
        user = user_of(builder)
    if farm().settings.builder_redis:
        farm().queues.expel(user)  # the login of an older token
    command = join_command(farm().settings.public_url, token)
    return answer(BuilderSecret(builder.id, builder.name, tuple(builder.tiers), token, command), 201)


@blueprint.post("/builders/join")
@spec.validate(resp=answers(Joined), tags=_TAGS)
def begin_join(json: NewHost) -> Response:
    """Admit the host that shows a builder's own token to the queues of its tiers and platforms."""
    with farm().database.begin() as session:
        builder = builder_of(session, principal())
        return answer(join(builder, json.machine, json.emulates, farm().settings, farm().queues))


@blueprint.put("/builders/<name>/drain")
@spec.validate(resp=answers(BuilderRow), tags=_TAGS)
def begin_drain(name: str) -> Response:
    """Let a builder finish what it has and take nothing more."""
    who = require("admin")
    with farm().database.begin() as session:
        drain(session, name, actor=who.name)
        session.flush()
        return answer(list_builders(session, farm().settings, name)[0])


@blueprint.delete("/builders/<name>/drain")
@spec.validate(resp=answers(BuilderRow), tags=_TAGS)
def end_drain(name: str) -> Response:
    """Let a builder take work again."""
    who = require("admin")
    with farm().database.begin() as session:
        undrain(session, name, actor=who.name)
        session.flush()
        return answer(list_builders(session, farm().settings, name)[0])
