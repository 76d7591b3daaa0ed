"""Blobs named by their SHA-256, in a local folder: `<2 hex>/<64 hex>`.

A blob is written under a temporary name, synced and renamed, so a name always means whole bytes;
writing one that exists is success. The interface is what an object store can do as well.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from buildfarm.errors import EnvironmentProblem, ExternalFailure, IntegrityFailure, LimitExceeded, NotFound

_CHUNK = 1 << 20


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
            ExternalFailure: `storage.full`, the disk takes no more.
        """
        digest = hashlib.sha256()
        size = 0
        fd, temporary = tempfile.mkstemp(dir=self.root / "tmp")
        try:
            with os.fdopen(fd, "wb") as out:
                for chunk in chunks:
                    size += len(chunk)
                    if max_bytes is not None and size > max_bytes:
                        raise LimitExceeded(
                            f"The file is larger than {max_bytes} bytes.", code="blob.too_large"
                        )
                    digest.update(chunk)
                    out.write(chunk)
                out.flush()
                os.fsync(out.fileno())
            name = digest.hexdigest()
            if sha256 is not None and name != sha256:
                raise IntegrityFailure(
                    f"The bytes have the digest {name}, announced was {sha256}.", code="blob.digest"
                )
            self._keep(Path(temporary), name)
        except OSError as err:
            raise ExternalFailure(
                f"The blob store takes no bytes: {err.strerror}.", code="storage.full"
            ) from err
        finally:
            Path(temporary).unlink(missing_ok=True)
        return name, size

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
        place.parent.mkdir(exist_ok=True)
        temporary.chmod(0o644)
        temporary.rename(place)
        folder = os.open(place.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            with contextlib.suppress(OSError):
                os.close(folder)
