"""Rendered pages on disk: what serving reads, without database and Redis.

`<channel>/<project>` is a symbolic link to a generation folder that holds every form of the page and
`page.json` (ETags, and the files that the channel serves). The link is replaced by a rename, so a
reader sees one generation whole; replaced ones stay for a minute, for readers that are in the middle.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from buildfarm.index.render import compressed

#: The list of all projects; no project can have this name.
ROOT = "_root"
_FORMS = ("index.json", "index.html")
#: How long a replaced generation stays, seconds: far longer than a reader needs from link to last byte.
_KEEP_S = 60.0


@dataclass(frozen=True)
class Page:
    """One generation of a page, as serving needs it."""

    folder: Path
    etags: Mapping[str, str]
    files: Mapping[str, Mapping[str, Any]]
    serial: int

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
        generations = self.root / channel / ".generations" / name
        # A name is never used twice, for readers remember what a generation held.
        folder = generations / f"{serial}.{secrets.token_hex(4)}"
        folder.mkdir(parents=True)
        etags = {}
        for form in _FORMS:
            for suffix, body in (("", bodies[form]), (".gz", compressed(bodies[form]))):
                (folder / (form + suffix)).write_bytes(body)
                etags[form + suffix] = '"' + hashlib.sha256(body).hexdigest()[:32] + '"'
        (folder / "page.json").write_text(json.dumps({"etags": etags, "files": files, "serial": serial}))
        self._retire(channel, name)
        self._point(self.root / channel / name, f".generations/{name}/{folder.name}")
        self._sweep(generations, keep=folder)

    def drop(self, channel: str, name: str) -> None:
        """Take a page away."""
        self._retire(channel, name)
        (self.root / channel / name).unlink(missing_ok=True)
        self._sweep(self.root / channel / ".generations" / name)

    def names(self, channel: str) -> set[str]:
        """The projects that the channel has pages of."""
        with contextlib.suppress(FileNotFoundError):
            return {path.name for path in (self.root / channel).iterdir() if path.is_symlink()} - {ROOT}
        return set()

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

    def _retire(self, channel: str, name: str) -> None:
        # From now on the age of the present generation counts from its replacement.
        with contextlib.suppress(FileNotFoundError):
            os.utime(self.root / channel / name)

    @staticmethod
    def _sweep(generations: Path, keep: Path | None = None) -> None:
        with contextlib.suppress(FileNotFoundError):
            for path in generations.iterdir():
                if path != keep and path.stat().st_mtime < time.time() - _KEEP_S:
                    shutil.rmtree(path, ignore_errors=True)

    @staticmethod
    def _point(link: Path, target: str) -> None:
        temporary = link.with_name(f".{link.name}.new.{os.getpid()}")
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
    return Page(folder, table["etags"], table["files"], table["serial"])
