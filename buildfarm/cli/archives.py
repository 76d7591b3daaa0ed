"""Sends the farm the archives of this engine's images that it wants for builders of other hosts."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from buildfarm.cli.client import Client
from buildfarm.errors import EnvironmentProblem
from buildfarm.sandbox.carrying import save
from buildfarm.sandbox.images import missing_images


def send_wanted(farm: Client, docker_host: str | None, say: Callable[[str], object]) -> None:
    """Send every archive that the farm wants and this engine can give; none where all builders share a host.

    Raises:
        FarmError: the engine or the farm is away, or refuses.
        EnvironmentProblem: `image.no_room`, an archive does not fit into the folder for temporary files.
    """
    wanted = [one["image_id"] for one in farm.get("images")["items"] if one["archive"] == "wanted"]
    absent = missing_images(docker_host, wanted) if wanted else []
    for image_id in wanted:
        if image_id not in absent:
            say(f"Sending image {image_id.removeprefix('sha256:')[:12]} to the farm.")
            _send(farm, docker_host, image_id)


def _send(farm: Client, docker_host: str | None, image_id: str) -> None:
    with tempfile.TemporaryDirectory(prefix="buildfarm-image-") as folder:
        archive = Path(folder) / "archive"
        try:
            with archive.open("wb") as out:
                sha256 = save(docker_host, image_id, out.write)
        except OSError as err:
            raise EnvironmentProblem(
                f"The archive of an image cannot be written to {folder}: {err.strerror}.",
                code="image.no_room",
                hint="Set TMPDIR to a folder with some hundred MiB of room.",
            ) from err
        farm.send_file("images", image_id, "archive", file=archive, sha256=sha256)
