"""What the farm can build on: builders that joined, images that were registered."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from buildfarm import clock
from buildfarm.access import tokens
from buildfarm.access.rules import Principal
from buildfarm.errors import Forbidden, NotFound, Unauthenticated
from buildfarm.farm.machines import crossing_to, machine_of
from buildfarm.farm.model import Builder, Image
from buildfarm.ids import new_id
from buildfarm.journal.record import record


def add_builder(session: Session, name: str, tiers: list[str], *, actor: str) -> tuple[Builder, str]:
    """A new builder and its token, which is shown once. A known name gets a new token."""
    token, value = tokens.create(
        session, f"builder {name}", [f"builder:{t}" for t in tiers], actor=actor, days=None
    )
    session.flush()
    builder = session.scalars(select(Builder).where(Builder.name == name)).first()
    if builder is None:
        builder = Builder(
            id=new_id("blr"),
            name=name,
            created_at=clock.now(),
            facts={},
            tiers=[],
            emulates=[],
            token_id=token.id,
        )
        session.add(builder)
    else:
        with contextlib.suppress(NotFound):  # revoked by hand already
            tokens.revoke(session, builder.token_id, actor=actor)
    builder.token_id, builder.tiers = token.id, sorted(tiers)
    record(session, "builder.add", builder=builder.id, name=name, tiers=builder.tiers, actor=actor)
    return builder, value


def drain(session: Session, name: str, *, actor: str) -> Builder:
    """Let a builder finish what it has and take nothing more.

    Raises:
        NotFound: `builder.unknown`.
    """
    builder = named(session, name)
    if builder.drained_at is None:
        builder.drained_at = clock.now()
        record(session, "builder.drain", builder=builder.id, name=name, actor=actor)
    return builder


def undrain(session: Session, name: str, *, actor: str) -> Builder:
    """Let a builder take work again.

    Raises:
        NotFound: `builder.unknown`.
    """
    builder = named(session, name)
    if builder.drained_at is not None:
        builder.drained_at = None
        record(session, "builder.undrain", builder=builder.id, name=name, actor=actor)
    return builder


def named(session: Session, name: str) -> Builder:
    """One builder.

    Raises:
        NotFound: `builder.unknown`.
    """
    builder = session.scalars(select(Builder).where(Builder.name == name)).first()
    if builder is None:
        raise NotFound(
            f"There is no builder {name}.", code="builder.unknown", hint="`builder list` shows them all."
        )
    return builder


def builder_of(session: Session, principal: Principal) -> Builder:
    """The builder whose token this is.

    Raises:
        Unauthenticated: no token at all.
        Forbidden: `builder.token`, the token belongs to no builder.
    """
    if principal.is_anonymous:
        raise Unauthenticated("A builder's token is needed.")
    builder = session.scalars(select(Builder).where(Builder.token_id == principal.id)).first()
    if builder is None:
        raise Forbidden("This is no token of a builder.", code="builder.token")
    return builder


def register_images(session: Session, images: list[dict[str, Any]], *, actor: str) -> None:
    """Make these the images in use for their families of platforms.

    Others of these families are retired, not forgotten; those of other families may be another host's.
    """
    now = clock.now()
    chosen = {image["image_id"] for image in images}
    families = {family_of(image["platform"], image.get("machine")) for image in images}
    for row in session.scalars(
        select(Image).where(Image.retired_at.is_(None), Image.image_id.not_in(chosen))
    ):
        if family_of(row.platform, row.machine) in families:
            _retire(session, row, actor)
    for image in images:
        known = session.get(Image, image["image_id"])
        if known is not None and known.retired_at is None:
            continue
        row = known or Image(image_id=image["image_id"], registered_at=now)
        session.add(row)
        row.platform, row.role, row.suite = image["platform"], image["role"], image["suite"]
        row.interpreters, row.toolchain, row.retired_at = image["interpreters"], image.get("toolchain"), None
        machine = image.get("machine")
        row.machine = machine if machine != machine_of(row.platform) else None
        record(
            session, "image.register", image=row.image_id, platform=row.platform, role=row.role, actor=actor
        )


def retire_image(session: Session, image_id: str, *, actor: str) -> None:
    """Have no new build use an image.

    Raises:
        NotFound: `image.unknown`, no image in use has this id.
    """
    image = session.get(Image, image_id)
    if image is None or image.retired_at is not None:
        raise NotFound(
            f"No image in use has the id {image_id}.",
            code="image.unknown",
            hint="`image list --json` shows the ids of those in use.",
        )
    _retire(session, image, actor)


def _retire(session: Session, image: Image, actor: str) -> None:
    image.retired_at = clock.now()
    record(session, "image.retire", image=image.image_id, actor=actor)


def images_for(session: Session, queues: Iterable[str]) -> list[str]:
    """Ids of the images that jobs of these build queues may name.

    Those in use, and retired ones that are kept for jobs which still wait (`archives.drop_unused`).
    """
    families = {queue.split(".")[1] for queue in queues if queue.count(".") == 3}
    wanted = select(Image).where(Image.retired_at.is_(None) | Image.archive_sha256.is_not(None))
    return sorted(
        image.image_id
        for image in session.scalars(wanted)
        if family_of(image.platform, image.machine) in families
    )


def family_of(platform: str, machine: str | None = None) -> str:
    """`manylinux-x86_64` of `manylinux_2_28_x86_64`: what queues are named by.

    With the machine of a build image, if that is another one: `cross-aarch64`.
    """
    if machine not in (None, machine_of(platform)):
        return crossing_to(platform)
    return f"{platform.partition('_')[0]}-{machine_of(platform)}"


def images(session: Session) -> list[Image]:
    """The images in use."""
    return list(session.scalars(select(Image).where(Image.retired_at.is_(None)).order_by(Image.platform)))
