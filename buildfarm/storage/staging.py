"""Bytes that wait to be published: a file for each id, in a folder beside the blobs, on the same disk.

They are no blobs yet: whoever lets go of them may delete them without asking who else has the same bytes.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from buildfarm.storage.blobs import Incoming, writing


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

    def drop_others(self, names: Collection[str]) -> int:
        """Let go of all finished files but these; how many that were."""
        if not self.root.is_dir():
            return 0
        gone = [path for path in self.root.iterdir() if path.name[0] != "." and path.name not in names]
        for path in gone:
            path.unlink(missing_ok=True)
        return len(gone)
