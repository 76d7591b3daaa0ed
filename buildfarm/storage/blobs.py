"""Blobs named by their SHA-256, in a local folder: `<2 hex>/<64 hex>`.

A blob is written under a temporary name, synced and renamed, so a name always means whole bytes;
writing one that exists is success. The interface is what an object store can do as well.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from buildfarm.errors import EnvironmentProblem, IntegrityFailure, LimitExceeded, NotFound, StorageFull

#: What uploads leave free for logs, pages and the database.
RESERVE_BYTES = 256 << 20
_CHUNK = 1 << 20


class Incoming:
    """A blob that is being written: hashed on the way, kept under its digest at the end."""

    def __init__(
        self, path: Path, out: BinaryIO, max_bytes: int | None, keep: Callable[[Path, str], None]
    ) -> None:
        #: The bytes so far, once flushed.
        self.path = path
        self.size = 0
        self._out, self._max_bytes, self._keep = out, max_bytes, keep
        self._digest = hashlib.sha256()

    def write(self, chunk: bytes) -> None:
        """Add bytes.

        Raises:
            LimitExceeded: `blob.too_large`.
            StorageFull: the disk takes no more.
        """
        self.size += len(chunk)
        if self._max_bytes is not None and self.size > self._max_bytes:
            raise LimitExceeded(f"The file is larger than {self._max_bytes} bytes.", code="blob.too_large")
        self._digest.update(chunk)
        with writing():
            self._out.write(chunk)

    def flush(self) -> str:
        """Make all bytes readable at `path`; returns their SHA-256 hex."""
        with writing():
            self._out.flush()
        return self._digest.hexdigest()

    def sync(self) -> None:
        """Make all bytes last through a power cut, so that `keep` is quick."""
        with writing():
            self._out.flush()
            os.fsync(self._out.fileno())

    def keep(self, sha256: str | None = None) -> str:
        """Store what was written; returns its SHA-256 hex.

        Raises:
            IntegrityFailure: `blob.digest`, the bytes are not the announced ones.
            StorageFull: the disk takes no more.
        """
        name = self.flush()
        if sha256 is not None and name != sha256:
            raise IntegrityFailure(
                f"The bytes have the digest {name}, announced was {sha256}.", code="blob.digest"
            )
        with writing():
            os.fsync(self._out.fileno())
            self._keep(self.path, name)
        return name


class Blobs:
    """A content-addressed store."""

    def __init__(self, root: Path) -> None:
        self.root = root
        try:
            (root / "tmp").mkdir(parents=True, exist_ok=True)
        except OSError as err:
            message = f"The blob folder {root} is not writable: {err.strerror}."
            raise EnvironmentProblem(message, code="storage.not_writable") from err

    def put(
        self, chunks: Iterable[bytes], *, sha256: str | None = None, max_bytes: int | None = None
    ) -> tuple[str, int]:
        """Store a stream; returns (SHA-256 hex, size in bytes). Flat memory.

        Raises:
            IntegrityFailure: `blob.digest`, the bytes are not the announced ones; nothing is kept.
            LimitExceeded: `blob.too_large`, more than `max_bytes`; nothing is kept.
            StorageFull: the disk takes no more.
        """
        with self.incoming(max_bytes=max_bytes) as incoming:
            for chunk in chunks:
                incoming.write(chunk)
            return incoming.keep(sha256), incoming.size

    @contextmanager
    def incoming(self, *, max_bytes: int | None = None) -> Iterator[Incoming]:
        """A blob to be written piece by piece; gone at the end of the block unless it was kept.

        Raises:
            StorageFull: the disk takes no more.
        """
        with writing():
            descriptor, temporary = tempfile.mkstemp(dir=self.root / "tmp")
        path = Path(temporary)
        try:
            with os.fdopen(descriptor, "wb") as out:
                yield Incoming(path, out, max_bytes, self._keep)
        finally:
            path.unlink(missing_ok=True)

    def has_room(self, size: int) -> bool:
        """Whether the disk takes `size` more bytes and keeps some for the farm's own work."""
        return shutil.disk_usage(self.root).free > size + RESERVE_BYTES

    def demand_room(self, size: int) -> None:
        """Refuse early what would leave the farm's own work without room.

        Raises:
            StorageFull: the disk does not take `size` more bytes and keep its reserve.
        """
        if not self.has_room(size):
            raise StorageFull("The farm's disk is full.", hint="Its operator must make room.")

    def take(self, path: Path, sha256: str) -> None:
        """Store a finished file of the same disk under its digest, without copying it; `path` stays.

        Raises:
            StorageFull: the disk takes no more.
        """
        temporary = self.root / "tmp" / secrets.token_hex(8)
        with writing():
            temporary.hardlink_to(path)
            try:
                self._keep(temporary, sha256)
            finally:
                temporary.unlink(missing_ok=True)

    def drop_unfinished(self, seconds: float) -> None:
        """Delete what a killed process left half written: nobody has added to it for so long."""
        for path in (self.root / "tmp").iterdir():
            with suppress(FileNotFoundError):
                if path.stat().st_ctime < time.time() - seconds:
                    path.unlink()

    def put_bytes(self, data: bytes) -> str:
        """Store bytes; returns their SHA-256 hex."""
        return self.put([data])[0]

    def path(self, sha256: str) -> Path:
        """Where the blob is, for `sendfile`.

        Raises:
            NotFound: `blob.missing`.
        """
        path = self._place(sha256)
        if not path.is_file():
            raise NotFound("These bytes are not stored here.", code="blob.missing", sha256=sha256)
        return path

    def has(self, sha256: str) -> bool:
        """Whether the blob is stored."""
        return self._place(sha256).is_file()

    def read(self, sha256: str) -> bytes:
        """All bytes of a small blob."""
        return self.path(sha256).read_bytes()

    def open(self, sha256: str) -> BinaryIO:
        """A file object of the blob."""
        return self.path(sha256).open("rb")

    def chunks(self, sha256: str, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        """The bytes from `start`, in chunks."""
        with self.open(sha256) as source:
            source.seek(start)
            left = length
            while left is None or left > 0:
                chunk = source.read(_CHUNK if left is None else min(_CHUNK, left))
                if not chunk:
                    return
                left = None if left is None else left - len(chunk)
                yield chunk

    def forget_use(self, sha256: str) -> None:
        """Have the next read noted as access time also where one read a day is noted (`relatime`)."""
        with suppress(FileNotFoundError):
            os.utime(self._place(sha256), (moment_of(sha256), moment_of(sha256)))

    def delete(self, sha256: str) -> None:
        """Remove the blob; no error when it is gone already."""
        self._place(sha256).unlink(missing_ok=True)

    def _place(self, sha256: str) -> Path:
        if len(sha256) != 64 or not set(sha256) <= set("0123456789abcdef"):
            raise NotFound("That is no SHA-256 digest.", code="blob.missing")
        return self.root / sha256[:2] / sha256

    def _keep(self, temporary: Path, sha256: str) -> None:
        place = self._place(sha256)
        if place.is_file():
            return
        if not place.parent.is_dir():
            place.parent.mkdir(exist_ok=True)
            _sync(self.root)
        temporary.chmod(0o644)
        moment = moment_of(sha256)
        os.utime(temporary, (moment, moment))
        temporary.rename(place)
        _sync(place.parent)


def moment_of(sha256: str) -> int:
    """The time of a blob, seconds: of its content, so that servers make the same of it everywhere."""
    return int(sha256[:8], 16) >> 1


@contextmanager
def writing() -> Iterator[None]:
    """What the disk refuses inside is said as `StorageFull`."""
    try:
        yield
    except OSError as err:
        raise StorageFull(f"The blob store takes no bytes: {err.strerror}.") from err


def _sync(folder: Path) -> None:
    # A name lasts through a power cut when the folder that holds it was synced as well.
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
