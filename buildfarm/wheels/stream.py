"""One pass over a hostile file: read forward, hash what is read, stay within budgets."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, BinaryIO

from buildfarm.errors import LimitExceeded
from buildfarm.wheels.rules import Report

CHUNK = 256 * 1024
_RATIO_FLOOR = 64 * 1024 * 1024
_RATIO = 50
_MAX_CONTENT = 16 * 1024**3
_MAX_MEMBERS = 50_000
#: The others cost as much as all the rest of a check, so they are made only when one has to agree.
_HASHERS: dict[str, Callable[[], Any]] = {
    "sha256": hashlib.sha256,
    "blake2_256": partial(hashlib.blake2b, digest_size=32),
    "md5": partial(hashlib.md5, usedforsecurity=False),
}


class Budget:
    """How much a file may unfold to, in bytes, members and seconds.

    Content above 64 MiB and 50 times the file is refused, the limit of the public index.
    """

    def __init__(self, file_bytes: int, report: Report, *, seconds: float = 60.0) -> None:
        self._most = min(max(_RATIO_FLOOR, _RATIO * file_bytes), _MAX_CONTENT)
        self._report = report
        self._deadline = time.monotonic() + seconds
        self._content = 0
        self._members = 0

    def spend(self, content: int, entry: str = "") -> None:
        """Count `content` bytes that were, or are said to be, unfolded.

        Raises:
            InvalidInput: Z-10 for the bytes, V-01 for the time.
        """
        self._content += content
        if self._content > self._most:
            self._report.refuse(
                "Z-10", "the content is far larger than the file; it looks like a bomb.", entry
            )
        if time.monotonic() > self._deadline:
            self._report.refuse("V-01", "checking the file takes too long.", entry)

    def member(self, entry: str) -> None:
        """Count one member.

        Raises:
            InvalidInput: Z-10.
        """
        self._members += 1
        if self._members > _MAX_MEMBERS:
            self._report.refuse("Z-10", f"the archive has more than {_MAX_MEMBERS} members.", entry)


class HashedStream:
    """A forward reader over a whole file that knows the SHA-256 of what went by, and `digests` of choice.

    Raises `LimitExceeded` (file.f-05) as soon as more than `max_bytes` were read: the size a file
    system states is not trusted.
    """

    def __init__(self, file: BinaryIO, max_bytes: int, digests: Iterable[str] = ()) -> None:
        self._file = file
        self._max_bytes = max_bytes
        self._ahead = b""
        self._at = 0
        self._hashers = {name: _HASHERS[name]() for name in ("sha256", *digests) if name in _HASHERS}
        self.size = 0

    @property
    def position(self) -> int:
        """Bytes handed out so far."""
        return self.size - len(self._ahead) + self._at

    def read(self, most: int) -> bytes:
        """At least one and at most `most` bytes; empty at the end of the file."""
        if self._at >= len(self._ahead):
            self._ahead = self._file.read(CHUNK)
            self._at = 0
            self.size += len(self._ahead)
            if self.size > self._max_bytes:
                raise too_large(self._max_bytes)
            for hasher in self._hashers.values():
                hasher.update(self._ahead)
        taken = self._ahead[self._at : self._at + most]
        self._at += len(taken)
        return taken

    def exactly(self, count: int) -> bytes | None:
        """`count` bytes, or None when the file ends before."""
        taken = self.read(count)
        while len(taken) < count:
            more = self.read(count - len(taken))
            if not more:
                return None
            taken += more
        return taken

    def digests(self) -> dict[str, str]:
        """SHA-256 and the digests asked for (hex) of the bytes read from the file."""
        return {name: hasher.hexdigest() for name, hasher in self._hashers.items()}


def too_large(max_bytes: int) -> LimitExceeded:
    """The error for a file above its size limit."""
    return LimitExceeded(
        f"F-05: the file is larger than the {max_bytes} bytes allowed here.", code="file.f-05", rule="F-05"
    )
