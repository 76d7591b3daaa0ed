"""What compilers made before, kept on the builder: a folder for each source and tier, never for a release.

A build reads and writes it through its door, by ccache's HTTP protocol (its manual, "HTTP storage
backend"). It is as trustworthy as the builds that wrote it, which is why its name says whose it is.
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
import uuid
from pathlib import Path

_KEY = re.compile(r"[A-Za-z0-9_-]{1,128}")
#: Room for one folder, in bytes.
ROOM = 2 * 2**30
ENTRY_BYTES = 64 * 2**20
_BLOCK = 4096  # what the smallest file takes
#: How many entries are in this process's memory at a time.
_TURNS = 4


class CompileCache:
    """A folder of entries by key; safe for several builds at a time, an entry is whole or not there.

    Through one object, which is an attempt's, no more than `room` bytes are written. `turns` is held while
    an entry is in memory.
    """

    def __init__(self, folder: Path, room: int = ROOM) -> None:
        self.turns = threading.BoundedSemaphore(_TURNS)
        self._folder = folder
        self._lock = threading.Lock()
        self._left = room

    def get(self, key: str) -> bytes | None:
        """An entry; None when there is none, or when that is no key."""
        if not _KEY.fullmatch(key):
            return None
        try:
            path = self._folder / key
            data = path.read_bytes()
            os.utime(path)  # what is used stays
        except OSError:
            return None
        return data

    def put(self, key: str, data: bytes) -> bool:
        """Keep an entry; False when that is no key or it is too large. What has no room is not kept."""
        if not _KEY.fullmatch(key) or len(data) > ENTRY_BYTES:
            return False
        with self._lock:
            self._left -= max(len(data), _BLOCK)
            if self._left < 0:
                return True
        part = self._folder / f"{key}.{uuid.uuid4().hex}"
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            part.write_bytes(data)
            part.rename(self._folder / key)
        except OSError:
            with contextlib.suppress(OSError):
                part.unlink()
        return True

    def trim(self, room: int = ROOM) -> None:
        """Remove the longest unused entries until the rest has room."""
        if self._folder.exists():
            trim(self._folder, room)


def trim(folder: Path, room: int) -> None:
    """Remove the longest unused files of a folder until the rest is `room` bytes at most."""
    entries = []
    for entry in os.scandir(folder):
        with contextlib.suppress(OSError):
            entries.append((entry.stat().st_mtime, entry.stat().st_size, entry.path))
    total = sum(size for _, size, _ in entries)
    for _, size, path in sorted(entries):
        if total <= room:
            return
        with contextlib.suppress(OSError):
            os.unlink(path)
        total -= size
