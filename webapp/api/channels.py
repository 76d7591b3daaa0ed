"""`/api/v1/channels`: the ladder."""

from __future__ import annotations

from dataclasses import dataclass

from flask import Blueprint, Response

from buildfarm.index.show import ChannelRow, list_channels
from webapp.api.answer import page
from webapp.api.spec import Page, answers, spec
from webapp.context import farm, require

blueprint = Blueprint("channels", __name__)


@dataclass(frozen=True)
class ChannelAnswer(ChannelRow):
    """A channel with the URL that clients are given."""

    index_url: str


@blueprint.get("/channels")
@spec.validate(resp=answers(Page[ChannelAnswer]), tags=["channels"])
def list_all() -> Response:
    """Every channel, the lowest first."""
    require("view")
    with farm().database.read() as session:
        rows = list_channels(session)
    root = farm().settings.public_url
    return page([ChannelAnswer(**vars(row), index_url=f"{root}/{row.name}/simple/") for row in rows])
