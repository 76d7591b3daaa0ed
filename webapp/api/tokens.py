"""`/api/v1/tokens`: credentials for programs."""

from __future__ import annotations

from dataclasses import dataclass

from flask import Blueprint, Response
from pydantic import Field

from buildfarm.access import show, tokens
from buildfarm.access.model import Token
from buildfarm.access.show import TokenRow
from webapp.api.answer import answer, page
from webapp.api.spec import Body, Page, answers, spec
from webapp.context import farm, require

blueprint = Blueprint("tokens", __name__)
_TAGS = ["access"]


@dataclass(frozen=True)
class TokenSecret(TokenRow):
    """A new token with its value, which is shown this once."""

    token: str


class NewToken(Body):
    """What the token is for; `days` null means that it never expires."""

    name: str = Field(min_length=1, max_length=100)
    scopes: list[str] = Field(min_length=1)
    days: int | None = Field(90, ge=1, le=3650)


class TokenQuery(Body):
    """Whether revoked tokens are listed too."""

    revoked: bool = False


@blueprint.get("/tokens")
@spec.validate(resp=answers(Page[TokenRow]), tags=_TAGS)
def list_all(query: TokenQuery) -> Response:
    """Tokens, the newest first."""
    require("admin")
    with farm().database.read() as session:
        return page(show.list_tokens(session, revoked=query.revoked))


@blueprint.post("/tokens")
@spec.validate(resp=answers(TokenSecret, 201), tags=_TAGS)
def add(json: NewToken) -> Response:
    """Make a token."""
    who = require("admin")
    with farm().database.begin() as session:
        token, value = tokens.create(session, json.name, json.scopes, actor=who.name, days=json.days)
    return answer(TokenSecret(**vars(show.token_row(token)), token=value), 201)


@blueprint.delete("/tokens/<token_id>")
@spec.validate(resp=answers(TokenRow), tags=_TAGS)
def revoke(token_id: str) -> Response:
    """End a token."""
    who = require("admin")
    with farm().database.begin() as session:
        tokens.revoke(session, token_id, actor=who.name)
        return answer(show.token_row(session.get_one(Token, token_id, populate_existing=True)))
