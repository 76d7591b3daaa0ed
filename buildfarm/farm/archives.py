"""Archives of images, by which they come to builder hosts whose engine lacks them.

An archive is what `docker save` says of one image, compressed. Who has the image sends it once, builders
fetch it with their own token, and their engine works the image's id out anew from the bytes: what it does
not find to be the image that the farm named is not used. See docs/adr/0018-images-reach-builders.md.
"""

from __future__ import annotations

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from buildfarm.db.engine import Database
from buildfarm.errors import NotFound
from buildfarm.farm.model import Image, Job
from buildfarm.farm.rules import State
from buildfarm.journal.record import record
from buildfarm.storage.blobs import Blobs

#: The largest archive that is taken in.
ARCHIVE_BYTES = 16 << 30


def image_of(session: Session, image_id: str) -> Image:
    """An image that was registered, retired or not.

    Raises:
        NotFound: `image.unknown`.
    """
    image = session.get(Image, image_id)
    if image is None:
        raise NotFound(
            f"No image {image_id[:19]} is registered.", code="image.unknown", hint="`image list` shows them."
        )
    return image


def keep(session: Session, image_id: str, sha256: str, size: int, *, actor: str) -> Image:
    """Note where the archive of an image is; one that was sent again takes the place of the other.

    Raises:
        NotFound: `image.unknown`.
    """
    image = image_of(session, image_id)
    image.archive_sha256, image.archive_bytes = sha256, size
    record(session, "image.archive", image=image_id, sha256=sha256, size=size, actor=actor)
    return image


def archive_of(session: Session, image_id: str) -> str:
    """SHA-256 of the archive of an image.

    Raises:
        NotFound: `image.unknown`, or `image.no_archive`.
    """
    image = image_of(session, image_id)
    if image.archive_sha256 is None:
        raise NotFound(
            f"The farm has no archive of the image {image_id[:19]}.",
            code="image.no_archive",
            hint="`buildfarm image add`, where the image was made, sends it.",
        )
    return image.archive_sha256


def drop_unused(database: Database, blobs: Blobs) -> int:
    """Delete the archives of retired images that no job waits for; how many.

    Builders that fetched such an image remove it when they are told of it no longer.
    """
    retired = Image.retired_at.is_not(None) & Image.archive_sha256.is_not(None)
    gone = set()
    with database.begin() as session:
        for image in session.scalars(select(Image).where(retired)):
            if not _is_named(session, image.image_id):
                gone.add(image.archive_sha256)
                image.archive_sha256 = image.archive_bytes = None
    for sha256 in gone:
        blobs.delete(str(sha256))
    return len(gone)


def _is_named(session: Session, image_id: str) -> bool:
    """Whether a job that is not over builds or tests in the image."""
    live = Job.state.in_([State.WAITING, State.QUEUED, State.RUNNING])
    named = [Job.spec[role].as_string() == image_id for role in ("build_image", "test_image")]
    return session.scalar(select(select(Job.id).where(live, or_(*named)).exists())) or False
