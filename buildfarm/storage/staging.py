"""Bytes that wait to be published: a file for each id, in a folder beside the blobs, on the same disk.

They are no blobs yet: whoever lets go of them may delete them without asking who else has the same bytes.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from buildfarm.storage.blobs import Incoming, writing

_UNFINISHED_S = 86400.0


class Staging:
    """A folder of staged files."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @contextmanager
    def incoming(self, name: str, *, max_bytes: int) -> Iterator[Incoming]:
        """A file to be written piece by piece; in its place, whole, once `keep` was called.

        Raises:
            StorageFull: the disk takes no more.
        """
        with writing():
            self.root.mkdir(parents=True, exist_ok=True)
            descriptor, temporary = tempfile.mkstemp(dir=self.root, prefix=".", suffix=".part")
        path = Path(temporary)

        def keep(part: Path, _sha256: str) -> None:
            part.replace(self.path(name))

        try:
            with os.fdopen(descriptor, "wb") as out:
                yield Incoming(path, out, max_bytes, keep)
        finally:
            path.unlink(missing_ok=True)

    def path(self, name: str) -> Path:
        """Where a staged file is, or would be."""
        return self.root / name

    def drop(self, name: str) -> None:
        """Let go of a file; no error when it is gone."""
        self.path(name).unlink(missing_ok=True)

    def names(self) -> set[str]:
        """Every file that is here whole; what a killed process left half written is deleted after a day."""
        if not self.root.is_dir():
            return set()
        found = set()
        for path in self.root.iterdir():
            if path.suffix != ".part":
                found.add(path.name)
                continue
            with suppress(FileNotFoundError):
                if path.stat().st_ctime < time.time() - _UNFINISHED_S:
                    path.unlink()
        return found
