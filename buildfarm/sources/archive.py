"""The snapshot's tar: sorted, owned by nobody in particular, dated by the commit.

Files go from git's objects into the archive; none is ever written under its own name on this
machine, so names, symbolic links and attributes of a hostile tree have nothing to act on.
"""

from __future__ import annotations

import errno
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

from buildfarm.errors import EnvironmentProblem, InvalidInput, LimitExceeded
from buildfarm.sources import trees
from buildfarm.sources.gitrun import BlobBytes, GitRunner

_TOP = "src"


class _Writer:
    """Members of a GNU tar (raw name bytes, no times or ids but ours), folders before what they hold."""

    def __init__(self, tar: tarfile.TarFile, mtime: int) -> None:
        self._tar = tar
        self._mtime = max(0, mtime)
        self._folders: set[str] = set()

    def _member(self, path: str, kind: bytes, mode: int) -> tarfile.TarInfo:
        member = tarfile.TarInfo(path)
        member.type = kind
        member.mode = mode
        member.mtime = self._mtime
        return member

    def folder(self, path: str) -> None:
        if path and path not in self._folders:
            self.folder(path.rpartition("/")[0])
            self._folders.add(path)
            self._tar.addfile(self._member(path, tarfile.DIRTYPE, 0o755))

    def file(
        self, path: str, size: int, content: IO[bytes] | BlobBytes, *, is_executable: bool = False
    ) -> None:
        self.folder(path.rpartition("/")[0])
        member = self._member(path, tarfile.REGTYPE, 0o755 if is_executable else 0o644)
        member.size = size
        self._tar.addfile(member, content)

    def symlink(self, path: str, aim: str) -> None:
        self.folder(path.rpartition("/")[0])
        member = self._member(path, tarfile.SYMTYPE, 0o777)
        member.linkname = aim
        self._tar.addfile(member)


def write(
    git: GitRunner,
    mirror: Path,
    entries: Sequence[trees.Entry],
    large: Mapping[str, Path],
    dotgit: Path,
    out: IO[bytes],
    *,
    mtime: int,
) -> None:
    """Write folder `src` with `.git` and the tree; the same commit and tags give the same bytes.

    The bytes of an entry that `large` has are in that file.

    Raises:
        InvalidInput: `source.unsound`.
        LimitExceeded: `source.too_large` when the file-size limit of this process is reached.
        EnvironmentProblem: `source.disk_full`.
    """
    try:
        with tarfile.open(
            fileobj=out, mode="w", format=tarfile.GNU_FORMAT, encoding="utf-8", errors="surrogateescape"
        ) as tar:
            writer = _Writer(tar, mtime)
            writer.folder(_TOP)
            for path in _walk(dotgit):
                name = f"{_TOP}/.git/{path.relative_to(dotgit)}"
                if path.is_dir():
                    writer.folder(name)
                else:
                    with path.open("rb") as content:
                        writer.file(name, path.stat().st_size, content)
            _write_tree(git, mirror, entries, large, writer)
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise EnvironmentProblem(
                "The farm's disk for snapshots is full.", code="source.disk_full"
            ) from error
        if error.errno != errno.EFBIG:
            raise
        raise LimitExceeded("The snapshot is larger than allowed.", code="source.too_large") from error


def _walk(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        yield path
        if path.is_dir():
            yield from _walk(path)


def _write_tree(
    git: GitRunner,
    mirror: Path,
    entries: Sequence[trees.Entry],
    large: Mapping[str, Path],
    writer: _Writer,
) -> None:
    ordered = sorted(entries, key=lambda entry: entry.path.encode("utf-8", "surrogateescape"))
    blobs = [entry for entry in ordered if not entry.is_submodule and entry.path not in large]
    streams = trees.contents(git, mirror, blobs)
    for entry in ordered:
        name = f"{_TOP}/{entry.path}"
        if entry.is_submodule:
            writer.folder(name)
            continue
        if entry.path in large:
            with large[entry.path].open("rb") as file:
                writer.file(name, entry.size, file, is_executable=entry.is_executable)
            continue
        _, content = next(streams)
        if entry.is_symlink:
            aim = content.read()
            if b"\0" in aim:
                raise InvalidInput("A symbolic link's aim holds a zero byte.", code="source.unsound")
            writer.symlink(name, aim.decode("utf-8", "surrogateescape"))
        else:
            writer.file(name, entry.size, content, is_executable=entry.is_executable)
    streams.close()
