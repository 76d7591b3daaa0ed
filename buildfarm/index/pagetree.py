"""The page tree: plain files that any server may answer reads from (docs/adr/0010-page-tree.md).

Every file is replaced whole: written under a temporary name, given its time, renamed. A reader opens,
looks at size and time of what it has opened, and reads: it has one version whole.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from buildfarm import clock

#: The list of all projects; no project can have this name.
ROOT = ".root"
#: Exists for channels whose names are not all in the tree: what is missing, web answers.
ON_DEMAND = ".on-demand"
#: The forms of a page by what is added to eight times its serial (its time, in seconds).
FORMS = ("json.gz", "json.zst", "html.gz")
#: Added for JSON of the API version that tells namespaces: other bytes, which may have the same size.
_TELLS_NAMESPACES = 4
_SERIAL = "serial"


@dataclass(frozen=True)
class Stored:
    """A file as it was found: size in bytes, time in seconds."""

    path: str
    size: int
    mtime: int

    @classmethod
    def of(cls, path: str, stat: os.stat_result) -> Stored:
        """What `stat` says of the file."""
        return cls(path, stat.st_size, int(stat.st_mtime))

    @property
    def validator(self) -> str:
        """The opaque part of its ETag, which is what nginx makes of a file."""
        return f"{self.mtime:x}-{self.size:x}"

    @property
    def serial(self) -> int:
        """Of a page: the journal serial of the last row that touched it."""
        return self.mtime // 8


class PageTree:
    """The tree of one web host, for any number of readers and writers."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()

    def find(self, path: str) -> Stored | None:
        """The file or blob at a path below the root; None when there is none."""
        full = f"{self.root}/{path}"
        try:
            return Stored.of(full, os.stat(full))
        except (OSError, ValueError):
            return None

    def read(self, path: str) -> bytes | None:
        """The bytes of a small file; None when there is none."""
        with contextlib.suppress(FileNotFoundError):
            return (self.root / path).read_bytes()
        return None

    def has_channel(self, channel: str) -> bool:
        """Whether there is such a channel."""
        return any(self.find(f"{channel}/{sign}") for sign in (f"simple/{ROOT}.{FORMS[0]}", ON_DEMAND))

    def put(self, path: str, data: bytes, mtime: int) -> None:
        """Replace a file."""
        place = f"{self.root}/{path}"
        temporary = _beside(place)
        try:
            _making_folder(place, lambda: _write(temporary, data))
            os.utime(temporary, (mtime, mtime))
            os.rename(temporary, place)
        except OSError:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
            raise

    def put_page(
        self, channel: str, name: str, forms: dict[str, bytes], serial: int, *, namespaces: bool = False
    ) -> None:
        """Replace a page in every form (`FORMS`); `namespaces` as for `page_time`."""
        for form in FORMS:
            moment = page_time(serial, form, namespaces=namespaces)
            self.put(f"{channel}/simple/{name}.{form}", forms[form], moment)

    def drop_project(self, channel: str, name: str) -> None:
        """Take a project's pages away, then its files."""
        self.drop_page(channel, name)
        self.drop(f"{channel}/rss/project/{name}.xml.gz")
        for folder in ("pypi", "files"):
            self.drop(f"{channel}/{folder}/{name}")

    def drop_page(self, channel: str, name: str) -> None:
        """Take a page away in every form, and leave the project's files."""
        for form in FORMS:
            self.drop(f"{channel}/simple/{name}.{form}")

    def link(self, path: str, target: Path) -> None:
        """Make a path mean a blob; nothing is done when it does already."""
        place = f"{self.root}/{path}"
        with contextlib.suppress(OSError):
            if os.readlink(place) == str(target):
                return
        temporary = _beside(place)
        _making_folder(place, lambda: os.symlink(target, temporary))
        os.rename(temporary, place)

    def age_s(self, path: str) -> float:
        """How long ago a file was put here (its time says something else); 0 when it is not here."""
        with contextlib.suppress(OSError):
            return clock.now().timestamp() - (self.root / path).stat().st_ctime
        return 0.0

    def listing(self, folder: str) -> set[str]:
        """What lies in a folder of the tree."""
        with contextlib.suppress(FileNotFoundError):
            return set(os.listdir(self.root / folder))
        return set()

    def drop(self, path: str) -> None:
        """Take a file away, or a folder with everything in it."""
        place = f"{self.root}/{path}"
        try:
            os.unlink(place)
        except FileNotFoundError:
            pass
        except (IsADirectoryError, PermissionError):
            shutil.rmtree(place, ignore_errors=True)

    def names(self, channel: str) -> Iterator[str]:
        """The projects that the channel has pages of, in no order."""
        with contextlib.suppress(FileNotFoundError), os.scandir(self.root / channel / "simple") as entries:
            for entry in entries:
                name, _, form = entry.name.partition(".")
                if name and form == FORMS[0]:
                    yield name

    @property
    def serial(self) -> int:
        """The journal serial that these pages show; -1 when they were never rendered."""
        try:
            return int((self.root / _SERIAL).read_text())
        except (OSError, ValueError):
            return -1

    def set_serial(self, serial: int) -> None:
        """Note the serial that the pages show; every call makes the file another one, of another time."""
        self.root.mkdir(parents=True, exist_ok=True)
        place = f"{self.root}/{_SERIAL}"
        temporary = _beside(place)
        _write(temporary, str(serial).encode())
        moment = time.time_ns()
        with contextlib.suppress(FileNotFoundError):
            # Two changes within one tick of the clock are two times nevertheless.
            moment = max(moment, os.stat(place).st_mtime_ns + 1)
        os.utime(temporary, ns=(moment, moment))
        os.rename(temporary, place)

    def note_change(self) -> None:
        """Tell readers that keep pages in memory that one has changed, of whatever serial.

        Should the follower move on in this moment, it applies the last rows once more.
        """
        if (serial := self.serial) >= 0:
            self.set_serial(serial)


def page_time(serial: int, form: str, *, namespaces: bool = False) -> int:
    """The time of a form of a page; `namespaces`: it is of the API version that tells them."""
    is_other = namespaces and form.startswith("json")
    return 8 * serial + FORMS.index(form) + (_TELLS_NAMESPACES if is_other else 0)


def _making_folder(place: str, write: Callable[[], object]) -> None:
    try:
        write()
    except FileNotFoundError:
        os.makedirs(os.path.dirname(place), exist_ok=True)
        write()


def _write(place: str, data: bytes) -> None:
    with open(place, "wb") as out:
        out.write(data)


def _beside(place: str) -> str:
    # Nothing that a request may name has a leading dot.
    folder, name = os.path.split(place)
    return f"{folder}/" + f".new.{secrets.token_hex(4)}.{name}"[:255]
