"""Images on their way from one engine to another: written to a file, taken from one, removed again.

Nothing about an archive is believed: the engine makes the image's id of the bytes, layer by layer.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Collection
from pathlib import Path

from buildfarm import log
from buildfarm.errors import ExternalFailure, FarmError, IntegrityFailure
from buildfarm.sandbox.engine import connect, engine_errors
from buildfarm.sandbox.images import missing_images

_log = log.get(__name__)
#: The engine says nothing for long while it packs or unpacks a layer, in seconds.
_PATIENCE_S = 600
_GZIP = 31
_BASE = "org.buildfarm.base"


def save(docker_host: str | None, image_id: str, write: Callable[[bytes], object]) -> str:
    """Write an image as `docker save` does, compressed; the SHA-256 hex of what was written.

    Raises:
        EnvironmentProblem: `engine.image_missing`.
        ExternalFailure: the engine is away or refuses.
    """
    # The quickest level: a third of the size at the pace of a disk; the next ones cost more than they save.
    packer, digest = zlib.compressobj(1, wbits=_GZIP), hashlib.sha256()
    with connect(docker_host, timeout=_PATIENCE_S) as client, engine_errors("saving an image"):
        for chunk in client.get_image(image_id):
            packed = packer.compress(chunk)
            digest.update(packed)
            write(packed)
    last = packer.flush()
    digest.update(last)
    write(last)
    return digest.hexdigest()


def load(docker_host: str | None, archive: Path, image_id: str, owner: str) -> None:
    """Take an image from its archive, and note that `owner` brought it.

    Raises:
        IntegrityFailure: `image.other`, the archive holds another image.
        ExternalFailure: the engine is away, refuses or has no room.
    """
    with connect(docker_host, timeout=_PATIENCE_S) as client:
        with archive.open("rb") as data, engine_errors("loading an image"):
            said = list(client.load_image(data, quiet=True))  # type: ignore[no-untyped-call]
        if failed := [line["error"] for line in said if "error" in line]:
            raise ExternalFailure(f"The engine did not load the image: {failed[0]}", code="engine.refused")
        if missing_images(docker_host, [image_id]):
            raise IntegrityFailure("The archive does not hold the image it was kept for.", code="image.other")
        with engine_errors("naming an image"):
            client.tag(image_id, _repository(owner), tag=image_id.removeprefix("sha256:"))


def discard(docker_host: str | None, owner: str, keep: Collection[str]) -> None:
    """Remove the images that `owner` brought and that are not to be kept, with what was made of them.

    One that a container still uses stays until the next call. Images that came another way are left alone.

    Raises:
        ExternalFailure: the engine is away.
    """
    with connect(docker_host) as client:
        with engine_errors("listing images"):
            brought = client.images(name=_repository(owner))
        for image in brought:
            if image["Id"] in keep:
                continue
            try:
                with engine_errors("removing an image"):
                    for derived in client.images(filters={"label": f"{_BASE}={image['Id']}"}):
                        client.remove_image(derived["Id"])
                    client.remove_image(f"{_repository(owner)}:{image['Id'].removeprefix('sha256:')}")
            except FarmError as err:
                _log.info("image.stays", image_id=image["Id"], reason=err.message)
            else:
                _log.info("image.removed", image_id=image["Id"])


def _repository(owner: str) -> str:
    """Each builder host has names of its own: two that share an engine do not remove each other's images."""
    return f"buildfarm/fetched-{owner}"
