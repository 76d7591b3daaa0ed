"""`/api/v1/channels`: the ladder, and the channels that show what others have."""

from __future__ import annotations

from dataclasses import dataclass

from flask import Blueprint, Response

from buildfarm.index import channels
from buildfarm.index.show import ChannelRow, channel_detail, list_channels
from webapp.api.answer import answer, page
from webapp.api.effects import wait_visible
from webapp.api.spec import Body, Page, answers, spec
from webapp.context import farm, require

blueprint = Blueprint("channels", __name__)
_TAGS = ["channels"]


@dataclass(frozen=True)
class ChannelAnswer(ChannelRow):
    """A channel with the URL that clients are given."""

    index_url: str


class NewChannel(Body):
    """A channel: `durable` has files of its own, `mirror` an upstream's by policy, `union` its parts'."""

    name: str
    kind: str = "durable"
    parts: list[str] = []
    public: bool = False


class ChannelChange(Body):
    """What to change; the rest stays."""

    public: bool | None = None
    parts: list[str] | None = None


@blueprint.get("/channels")
@spec.validate(resp=answers(Page[ChannelAnswer]), tags=_TAGS)
def list_all() -> Response:
    """Every channel: the ladder, the lowest first, then mirrors and unions."""
    require("view")
    with farm().database.read() as session:
        return page([_with_url(row) for row in list_channels(session)])


@blueprint.post("/channels")
@spec.validate(resp=answers(ChannelAnswer, 201), tags=_TAGS)
def add(json: NewChannel) -> Response:
    """Make a channel; its index answers when this does."""
    who = require("admin")
    with farm().database.begin() as session:
        channels.create(
            session, json.name, kind=json.kind, parts=json.parts, public=json.public, actor=who.name
        )
    wait_visible(session)
    return _shown(json.name, 201)


@blueprint.get("/channels/<name>")
@spec.validate(resp=answers(ChannelAnswer), tags=_TAGS)
def show_one(name: str) -> Response:
    """One channel."""
    require("view")
    return _shown(name)


@blueprint.patch("/channels/<name>")
@spec.validate(resp=answers(ChannelAnswer), tags=_TAGS)
def change(name: str, json: ChannelChange) -> Response:
    """Change who may read a channel, or what a union is made of."""
    who = require("admin")
    with farm().database.begin() as session:
        channels.change(session, name, public=json.public, parts=json.parts, actor=who.name)
    wait_visible(session)
    return _shown(name)


def _shown(name: str, status: int = 200) -> Response:
    with farm().database.read() as session:
        return answer(_with_url(channel_detail(session, name)), status)


def _with_url(row: ChannelRow) -> ChannelAnswer:
    return ChannelAnswer(**vars(row), index_url=f"{farm().settings.public_url}/{row.name}/simple/")
