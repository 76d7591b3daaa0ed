"""Rendered pages on disk: what serving reads, without database and Redis.

`<channel>/<project>` is a symbolic link to a generation folder that holds every form of the page and
`page.json` (ETags, and the files that the channel serves). The link is replaced by a rename, so a
reader sees one generation whole; the one before is kept for readers that are in the middle.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from buildfarm.index.render import compressed

#: The list of all projects; no project can have this name.
ROOT = "_root"
_FORMS = ("index.json", "index.html")


@dataclass(frozen=True)
class Page:
    """One generation of a page, as serving needs it."""

    folder: Path
    etags: Mapping[str, str]
    files: Mapping[str, Mapping[str, Any]]

    def body(self, form: str) -> bytes:
        """The bytes of `index.json`, `index.html` or their `.gz` forms."""
        return (self.folder / form).read_bytes()


class PageTree:
    """All pages of one web node."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def read(self, channel: str, name: str) -> Page | None:
        """The page, or None when the channel lists no such project."""
        try:
            generation = os.readlink(self.root / channel / name)
        except OSError:
            return None
        return _load(self.root / channel / generation)

    def has_channel(self, channel: str) -> bool:
        """Whether there is such a channel."""
        return (self.root / channel / ROOT).is_symlink()

    def write(
        self, channel: str, name: str, bodies: Mapping[str, bytes], files: Mapping[str, Any], serial: int
    ) -> None:
        """Replace a page; readers see the old generation or this one, never a mixture."""
        link = self.root / channel / name
        generations = self.root / channel / ".generations"
        folder = generations / f"{name}.{serial}"
        if folder.exists():
            folder = generations / f"{name}.{serial}.{os.getpid()}.{os.urandom(3).hex()}"
        folder.mkdir(parents=True)
        etags = {}
        for form in _FORMS:
            for suffix, body in (("", bodies[form]), (".gz", compressed(bodies[form]))):
                (folder / (form + suffix)).write_bytes(body)
                etags[form + suffix] = '"' + hashlib.sha256(body).hexdigest()[:32] + '"'
        (folder / "page.json").write_text(json.dumps({"etags": etags, "files": files}))
        older = self._generations(generations, name)
        self._point(link, f".generations/{folder.name}")
        current_before = [path for path in older if path != folder][-1:]
        for path in older:
            if path != folder and path not in current_before:
                shutil.rmtree(path, ignore_errors=True)

    def drop(self, channel: str, name: str) -> None:
        """Take a page away."""
        (self.root / channel / name).unlink(missing_ok=True)
        for path in self._generations(self.root / channel / ".generations", name):
            shutil.rmtree(path, ignore_errors=True)

    @property
    def serial(self) -> int:
        """The journal serial that these pages show; -1 when they were never rendered."""
        try:
            return int((self.root / "serial").read_text())
        except (OSError, ValueError):
            return -1

    def set_serial(self, serial: int) -> None:
        """Note the serial that the pages show."""
        temporary = self.root / "serial.new"
        temporary.write_text(str(serial))
        temporary.rename(self.root / "serial")

    @staticmethod
    def _generations(generations: Path, name: str) -> list[Path]:
        found = []
        with contextlib.suppress(FileNotFoundError):
            found = [path for path in generations.iterdir() if path.name.split(".")[0] == name]
        return sorted(found, key=lambda path: path.stat().st_mtime_ns)

    @staticmethod
    def _point(link: Path, target: str) -> None:
        temporary = link.with_name(f"{link.name}.new.{os.getpid()}")
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(target)
        temporary.rename(link)


@lru_cache(maxsize=4096)
def _load(folder: Path) -> Page | None:
    # A generation never changes, so its parsed table may be kept for as long as memory allows.
    try:
        table = json.loads((folder / "page.json").read_bytes())
    except OSError:
        return None
    return Page(folder, table["etags"], table["files"])
