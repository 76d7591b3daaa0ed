"""Fetches images that this host lacks from the farm, and removes those that no build may name any more."""

from __future__ import annotations

import fcntl
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from buildfarm import log
from buildfarm.errors import FarmError, IntegrityFailure, StorageFull
from buildfarm.sandbox.carrying import discard, load
from buildfarm.sandbox.images import missing_images
from workers.builder_config import BuilderConfig
from workers.farm_client import FarmClient

_log = log.get(__name__)
#: What an archive leaves free on the work folder's disk, bytes.
_ROOM_BYTES = 256 << 20


class Supply:
    """Brings the farm's images here, in a thread: meanwhile the builder says that it is there.

    A builder that lacks an image takes no work, so nothing is forked while the thread runs. Of a host's
    builders one fetches, the others wait for it.
    """

    def __init__(self, own: BuilderConfig, farm: FarmClient, on_over: Callable[[], None]) -> None:
        self._own, self._farm, self._on_over = own, farm, on_over
        self._host = own.instance.rpartition("-")[0]
        self._folder = own.workdir.parent / "images"
        self._thread: threading.Thread | None = None
        #: What is being done, for a person; empty when nothing is.
        self.doing = ""
        #: Why the last try ended badly; the next one is made when the farm is asked again.
        self.failure: FarmError | None = None

    def tend(self, images: Sequence[str]) -> None:
        """Begin to fetch what is missing of these images; remove what was fetched and is none of them.

        Raises:
            FarmError: the engine is away.
        """
        if self._thread is not None and self._thread.is_alive():
            return
        discard(self._own.docker_host, self._host, images)
        if missing_images(self._own.docker_host, images):
            self._thread = threading.Thread(target=self._fetch, args=(images,), daemon=True)
            self._thread.start()

    def _fetch(self, images: Sequence[str]) -> None:
        try:
            with _alone_in(self._folder):
                for left in self._folder.glob("[0-9a-f]*"):
                    if f"sha256:{left.name}" not in images:
                        left.unlink()
                failures = [
                    self._fetch_one(image_id, self._folder / image_id.removeprefix("sha256:"))
                    for image_id in missing_images(self._own.docker_host, images)
                ]
                self.failure = next(filter(None, failures), None)
        except FarmError as err:
            self.failure = err
        if self.failure is None:
            self._on_over()

    def _fetch_one(self, image_id: str, archive: Path) -> FarmError | None:
        """Bring one image; the reason when that was not to be done."""
        try:
            self._bring(image_id, archive)
        except FarmError as err:
            _log.info("image.not_fetched", image_id=image_id, code=err.code)
            return err
        finally:
            self.doing = ""
        return None

    def _bring(self, image_id: str, archive: Path) -> None:
        short = image_id.removeprefix("sha256:")[:12]

        def tell(here: int, size: int) -> None:
            self.doing = f"fetching image {short}, {here >> 20} of {size >> 20} MiB"

        self._farm.fetch_image(image_id, archive, _ROOM_BYTES, tell)
        self.doing = f"loading image {short}"
        try:
            load(self._own.docker_host, archive, image_id, self._host)
        except IntegrityFailure:
            archive.unlink()
            raise
        archive.unlink()
        _log.info("image.fetched", image_id=image_id)


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Have a folder for oneself, waiting for it; what its disk refuses inside is said as `StorageFull`."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
    except OSError as err:
        raise StorageFull(f"{folder} cannot be used: {err.strerror}.") from err
