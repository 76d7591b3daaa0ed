"""`/api/v1/whoami`: who the farm thinks is asking."""

from __future__ import annotations

from dataclasses import dataclass

from flask import Blueprint, Response

from webapp.api.answer import answer
from webapp.api.spec import answers, spec
from webapp.context import principal

blueprint = Blueprint("whoami", __name__)


@dataclass(frozen=True)
class Whoami:
    """The principal of a request; anonymous without a credential."""

    id: str | None
    name: str
    scopes: tuple[str, ...]


@blueprint.get("/whoami")
@spec.validate(resp=answers(Whoami), tags=["access"])
def show() -> Response:
    """Who sent this request, and what they may do."""
    who = principal()
    return answer(Whoami(who.id, who.name, tuple(sorted(who.scopes))))
