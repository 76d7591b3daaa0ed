"""`/api/v1/users`: local people."""

from __future__ import annotations

from flask import Blueprint, Response
from pydantic import Field

from buildfarm.access import show, users
from buildfarm.access.show import UserRow
from webapp.api.answer import answer, page
from webapp.api.spec import Body, Page, answers, spec
from webapp.context import farm, require

blueprint = Blueprint("users", __name__)
_TAGS = ["access"]


class NewUser(Body):
    """A person who may log in."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,62}$")
    password: str = Field(max_length=1000)
    is_admin: bool = False


@blueprint.get("/users")
@spec.validate(resp=answers(Page[UserRow]), tags=_TAGS)
def list_all() -> Response:
    """Local people, by name."""
    require("admin")
    with farm().database.read() as session:
        return page(show.list_users(session))


@blueprint.post("/users")
@spec.validate(resp=answers(UserRow, 201), tags=_TAGS)
def add(json: NewUser) -> Response:
    """Let a person log in."""
    who = require("admin")
    with farm().database.begin() as session:
        user = users.add_user(session, json.name, json.password, is_admin=json.is_admin, actor=who.name)
    return answer(show.user_row(user), 201)
