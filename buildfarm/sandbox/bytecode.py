"""Bytecode of what builds install, compiled once for each wheel and interpreter of a host.

uv installs source alone, so that every container would compile its backend anew, which takes longer than
a small project. A wheel that came through a container's door is noted; when the builder has nothing to do,
another container, which runs nothing of it, compiles it. Whoever gets the same bytes through its door then
may have the bytecode as well.

Python uses such a file only for the very source that it was made of (PEP 552, checked hash-based). Each
wheel has a container of its own: whatever its source talks a compiler into, it reaches those alone who
install that wheel.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from buildfarm.sandbox.compilecache import trim
from buildfarm.sandbox.prestart import Kind
from buildfarm.sandbox.spec import MIB

#: Room of one interpreter's packs, and of what one image is to compile, in bytes.
ROOM = 1024 * MIB
#: Larger wheels are left alone: they are libraries that few builds install, and take long.
_LARGEST = 64 * MIB
_CHUNK = 256 * 1024


def store_of(workdir: Path) -> Path:
    """Where the store of a builder's host is: beside the working directories, which share it."""
    return workdir.resolve().parent / "bytecode"


class Bytecode:
    """The store as one container's door uses it.

    Args:
        store: of the host; `INTERPRETER/SHA256.tar` are packs, `noted/INTERPRETER.IMAGE/SHA256.whl` what
            nobody has compiled yet.
        kind: the container; its interpreter and image are what compiles.
    """

    def __init__(self, store: Path, kind: Kind) -> None:
        self._packs = store / kind.interpreter
        self._noted = store / "noted" / f"{kind.interpreter}.{kind.image.removeprefix('sha256:')}"
        self._passed: list[Path] = []
        for folder in (self._packs, self._noted):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def passing(self, body: Iterator[bytes]) -> Iterator[bytes]:
        """The same bytes of a wheel; its pack can be taken before its last piece is out."""
        digest, last = hashlib.sha256(), b""
        with _Copy(self._noted / f"{uuid.uuid4().hex}.part") as copy:
            for piece in body:
                digest.update(piece)
                copy.write(piece)
                if last:
                    yield last
                last = piece
            pack = self._packs / f"{digest.hexdigest()}.tar"
            if pack.exists():
                self._passed.append(pack)
            else:
                copy.keep(f"{digest.hexdigest()}.whl")
            if last:
                yield last

    def take(self) -> tuple[int, Iterator[bytes]]:
        """Size and bytes of the packs of what passed since the last time, one after the other."""
        passed, self._passed = self._passed, []
        files = []
        for pack in passed:
            with contextlib.suppress(OSError):  # trimmed meanwhile
                os.utime(pack)  # what is used stays
                files.append(pack.open("rb"))
        return sum(os.fstat(file.fileno()).st_size for file in files), _pieces(files)


def _pieces(files: Sequence[BinaryIO]) -> Iterator[bytes]:
    for file in files:
        with file:
            while piece := file.read(_CHUNK):
                yield piece


class _Copy:
    """A file that is gone at the end unless it is kept; without room for it there is none."""

    def __init__(self, part: Path) -> None:
        self._part = part
        self._size = 0
        self._file: BinaryIO | None = None

    def __enter__(self) -> _Copy:
        with contextlib.suppress(OSError):
            self._file = self._part.open("wb")
        return self

    def __exit__(self, *_exc: object) -> None:
        self._drop()
        with contextlib.suppress(OSError):
            self._part.unlink(missing_ok=True)

    def write(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._file is None:
            return
        try:
            if self._size > _LARGEST:
                self._drop()
            else:
                self._file.write(piece)
        except OSError:
            self._drop()

    def keep(self, name: str) -> None:
        if self._file is None:
            return
        with contextlib.suppress(OSError):
            self._file.close()
            self._part.rename(self._part.with_name(name))
            trim(self._part.parent, ROOM)

    def _drop(self) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
            self._file = None
