"""`/api/v1/images`: the container images that builds may use, each pinned by its id."""

from __future__ import annotations

from flask import Blueprint, Response
from pydantic import Field

from buildfarm.farm.fleet import ImageRow, list_images
from buildfarm.farm.registry import register_images
from webapp.api.answer import page
from webapp.api.spec import Body, Page, answers, spec
from webapp.context import farm, require

blueprint = Blueprint("images", __name__)
_TAGS = ["builders"]


class NewImage(Body):
    """One image: what it builds or tests for, and the interpreters in it."""

    image_id: str = Field(pattern=r"^sha256:[0-9a-f]{64}$")
    platform: str
    role: str
    suite: str
    interpreters: list[str]


class Images(Body):
    """All images in use; what is not named is retired."""

    images: list[NewImage]


@blueprint.get("/images")
@spec.validate(resp=answers(Page[ImageRow]), tags=_TAGS)
def list_all() -> Response:
    """The images in use, by platform."""
    require("view")
    with farm().database.read() as session:
        return page(list_images(session))


@blueprint.put("/images")
@spec.validate(resp=answers(Page[ImageRow]), tags=_TAGS)
def register(json: Images) -> Response:
    """Make these the images in use."""
    who = require("admin")
    with farm().database.begin() as session:
        register_images(session, [image.model_dump() for image in json.images], actor=who.name)
        session.flush()
        return page(list_images(session))
