"""`/api/v1/images`: the container images that builds may use, each pinned by its id."""

from __future__ import annotations

from dataclasses import dataclass

from flask import Blueprint, Response, request
from pydantic import Field

from buildfarm.errors import InvalidInput
from buildfarm.farm import archives
from buildfarm.farm.fleet import ImageRow, list_images
from buildfarm.farm.registry import register_images, retire_image
from webapp.api.answer import answer, page
from webapp.api.spec import Body, Page, answers, spec
from webapp.context import farm, require

blueprint = Blueprint("images", __name__)
_TAGS = ["builders"]


class NewImage(Body):
    """One image: what it builds or tests for, the interpreters in it, the compiler that recipes must ask for.

    `machine` is its own, where that is another one than its platform's.
    """

    image_id: str = Field(pattern=r"^sha256:[0-9a-f]{64}$")
    platform: str
    role: str
    suite: str
    interpreters: list[str]
    toolchain: str | None = None
    machine: str | None = None


@dataclass(frozen=True)
class Archived:
    """The archive of an image that is kept now: its SHA-256 and its size in bytes."""

    image_id: str
    sha256: str
    size: int


class Images(Body):
    """All images in use for the families of platforms that are named; others of these are retired."""

    images: list[NewImage]


@blueprint.get("/images")
@spec.validate(resp=answers(Page[ImageRow]), tags=_TAGS)
def list_all() -> Response:
    """The images in use, by platform."""
    require("view")
    with farm().database.read() as session:
        return page(list_images(session, farm().settings))


@blueprint.put("/images")
@spec.validate(resp=answers(Page[ImageRow]), tags=_TAGS)
def register(json: Images) -> Response:
    """Make these the images in use for their families of platforms."""
    who = require("admin")
    with farm().database.begin() as session:
        register_images(session, [image.model_dump() for image in json.images], actor=who.name)
        session.flush()
        return page(list_images(session, farm().settings))


@blueprint.delete("/images/<image_id>")
@spec.validate(resp=answers(Page[ImageRow]), tags=_TAGS)
def retire(image_id: str) -> Response:
    """Have no new build use an image."""
    who = require("admin")
    with farm().database.begin() as session:
        retire_image(session, image_id, actor=who.name)
        session.flush()
        return page(list_images(session, farm().settings))


@blueprint.put("/images/<image_id>/archive")
@spec.validate(resp=answers(Archived), tags=_TAGS)
def keep_archive(image_id: str) -> Response:
    """Keep an image, as `docker save` writes it, compressed by gzip, for builders whose engine lacks it.

    The body is the archive; `X-Sha256` announces its digest.
    """
    who = require("admin")
    with farm().database.read() as session:
        before = archives.image_of(session, image_id).archive_sha256
    sha256, size = _received(request.headers.get("X-Sha256", ""))
    with farm().database.begin() as session:
        archives.keep(session, image_id, sha256, size, actor=who.name)
    if before and before != sha256:
        farm().blobs.delete(before)
    return answer(Archived(image_id, sha256, size))


def _received(announced: str) -> tuple[str, int]:
    if len(announced) != 64:
        raise InvalidInput("X-Sha256 must announce the digest of the archive.", code="image.no_digest")
    farm().blobs.demand_room(request.content_length or 0)
    request.max_content_length = archives.ARCHIVE_BYTES  # the store counts; this is the application's limit
    chunks = iter(lambda: request.stream.read(1 << 20), b"")
    return farm().blobs.put(chunks, sha256=announced, max_bytes=archives.ARCHIVE_BYTES)
