"""`/api/v1/sources/NAME/scm-hook`: the hook in the SCM, looked after by a worker."""

from __future__ import annotations

from dataclasses import dataclass

from flask import Blueprint, Response

from buildfarm.scm.forges.access import access_of
from buildfarm.scm.hooking import orders
from buildfarm.scm.hooking.orders import OrderRow
from buildfarm.scm.hooking.rules import Verb
from buildfarm.scm.hooking.show import Watched, watched
from buildfarm.sources import show
from webapp.api.answer import answer
from webapp.api.effects import hand_over
from webapp.api.spec import Body, answers, spec
from webapp.context import farm, require

blueprint = Blueprint("scmhooks", __name__)
_TAGS = ["sources"]


@dataclass(frozen=True)
class ScmHook:
    """The hook that the farm made, the last thing that was asked about it, and what looks unasked found."""

    hook_id: str | None
    order: OrderRow | None
    watched: Watched | None


class HookVerb(Body):
    """What a worker is to do: `check`, `repair` (also where there is no hook), `rotate` or `remove`."""

    verb: Verb


@blueprint.get("/sources/<name>/scm-hook")
@spec.validate(resp=answers(ScmHook), tags=_TAGS)
def show_one(name: str) -> Response:
    """The hook in the SCM, as it was when it was last looked at."""
    require("admin")
    with farm().database.read() as session:
        source = show.get_any(session, name)
        hook_id = access_of(session, source).hook_id
        return answer(ScmHook(hook_id, orders.newest(session, source.id), watched(session, source.id)))


@blueprint.post("/sources/<name>/scm-hook")
@spec.validate(resp=answers(OrderRow, 201), tags=_TAGS)
def order(name: str, json: HookVerb) -> Response:
    """Have a worker look at the hook, repair, rotate or remove it; `GET` tells what came of it."""
    who = require("admin")
    with farm().database.begin() as session:
        placed = orders.place(session, show.get_any(session, name), json.verb, actor=who.name)
    hand_over()
    return answer(placed, 201)
