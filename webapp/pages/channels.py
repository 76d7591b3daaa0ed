"""`/<channel>/`: what a channel is, how clients are pointed at it, and what came last."""

from __future__ import annotations

from flask import Blueprint, Response

from buildfarm.errors import Forbidden, NotFound, Unauthenticated
from buildfarm.index import show
from buildfarm.index.channels import Kind
from buildfarm.index.decide import Verdict
from buildfarm.index.showfiles import files_of_stage
from webapp.context import farm
from webapp.pages.shell import page
from webapp.verdict import verdict_on

blueprint = Blueprint("channels", __name__)
_RECENT = 20


# Without a redirect to the slash: a path of one part that is no page of ours is simply not there.
@blueprint.get("/<channel>/", strict_slashes=False)
def show_one(channel: str) -> Response:
    """The page of a channel, for whoever may read the channel."""
    try:
        with farm().database.read() as session:
            row = show.channel_detail(session, channel)
    except NotFound as err:
        raise NotFound("There is no such page.", code="http.404") from err
    match verdict_on(channel):
        case Verdict.UNKNOWN:
            raise Unauthenticated("Log in to see this channel.", code="access.needed")
        case Verdict.FORBIDDEN:
            raise Forbidden(f"These credentials may not read the channel {channel}.")
    with farm().database.read() as session:
        recent = show.newest_releases(session, channel, _RECENT)
        staged = files_of_stage(session, channel)
    is_durable = row.kind == Kind.DURABLE
    return page("channels/show.html", channel=row, recent=recent, is_durable=is_durable, staged=staged)
