"""The files of one commit, as the tree object has them: names checked, nothing checked out."""

from __future__ import annotations

import re
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

from buildfarm.errors import InvalidInput, LimitExceeded
from buildfarm.sources.contract import FetchLimits
from buildfarm.sources.gitrun import BlobBytes, GitRunner

RECIPE_NAMES = frozenset({"pyproject.toml", "buildfarm.toml", "setup.cfg"})
_PROJECT_NAMES = frozenset({"pyproject.toml", "setup.py"})
_RECIPE_DEPTH = 3
_MAX_PROJECTS = 1_000
_PATH_MAX = 4_000
_FILE, _EXECUTABLE, _SYMLINK, _GITLINK = "100644", "100755", "120000", "160000"
#: What some file system would take for `.git`: any case, NTFS short name or stream, trailing dots.
_GIT_FOLDER = re.compile(r"(?:\.git|git~1)[ .]*(?::.*)?", re.IGNORECASE | re.DOTALL)
#: Code points HFS+ ignores in names (git's own list in utf8.c).
_IGNORABLE = dict.fromkeys([*range(0x200C, 0x2010), *range(0x202A, 0x202F), *range(0x206A, 0x2070), 0xFEFF])


@dataclass(frozen=True)
class Entry:
    """One file, symbolic link or submodule; the path may hold undecodable bytes as surrogates."""

    path: str
    mode: str
    oid: str
    size: int

    @property
    def is_file(self) -> bool:
        """Whether it is a regular file."""
        return self.mode in {_FILE, _EXECUTABLE}

    @property
    def is_executable(self) -> bool:
        """Whether it is a file with the executable bit."""
        return self.mode == _EXECUTABLE

    @property
    def is_symlink(self) -> bool:
        """Whether it is a symbolic link, whose content is its aim."""
        return self.mode == _SYMLINK

    @property
    def is_submodule(self) -> bool:
        """Whether it is a submodule's place: an empty folder, as in a clone without them, unless filled."""
        return self.mode == _GITLINK


def listing(git: GitRunner, mirror: Path, commit: str, limits: FetchLimits) -> list[Entry]:
    """Every entry of the commit's tree.

    Raises:
        InvalidInput: `source.unsound` for a path that could leave the tree or enter `.git`.
        LimitExceeded: `source.too_many_files`, `source.file_too_large`, `source.too_large`.
    """
    told = git.run(mirror, "ls-tree", "-r", "-z", "--long", "--full-tree", commit)
    entries = [_entry(record) for record in told.split("\0") if record]
    check_sizes(entries, limits)
    return entries


def check_sizes(entries: Sequence[Entry], limits: FetchLimits) -> None:
    """Refuse more or larger files than one snapshot may hold.

    Raises:
        LimitExceeded: `source.too_many_files`, `source.file_too_large`, `source.too_large`.
    """
    if len(entries) > limits.files:
        raise LimitExceeded(
            f"The tree has {len(entries)} files; {limits.files} are allowed.", code="source.too_many_files"
        )
    for entry in entries:
        if entry.size > limits.file_bytes:
            raise LimitExceeded(
                f"A file has {entry.size} bytes; {limits.file_bytes} are allowed.",
                code="source.file_too_large",
                path=printable(entry.path),
            )
    if sum(entry.size for entry in entries) > limits.bytes:
        raise LimitExceeded(f"The files have more than {limits.bytes} bytes.", code="source.too_large")


def _entry(record: str) -> Entry:
    facts, _, path = record.partition("\t")
    mode, _, oid, size = facts.split()
    components = path.split("/")
    if (
        mode not in {_FILE, _EXECUTABLE, _SYMLINK, _GITLINK}
        or len(path.encode("utf-8", "surrogateescape")) > _PATH_MAX
        or (mode == _SYMLINK and not 0 < int(size) <= _PATH_MAX)
        or any(name in {"", ".", ".."} for name in components)
        or any(_GIT_FOLDER.fullmatch(name.translate(_IGNORABLE)) for name in components)
    ):
        raise InvalidInput(
            "The tree holds an entry that could leave its folder or enter `.git`.",
            code="source.unsound",
            path=printable(path),
        )
    return Entry(path, mode, oid, 0 if size == "-" else int(size))


def printable(path: str) -> str:
    """The path fit for an error's facts."""
    return path.encode("utf-8", "backslashreplace").decode()[:400]


def projects(entries: Sequence[Entry]) -> tuple[str, ...]:
    """Folders, at most three deep, that hold a pyproject.toml or setup.py; `.` is the root."""
    found = {
        entry.path.rpartition("/")[0] or "."
        for entry in entries
        if entry.is_file and _is_named(entry.path, _PROJECT_NAMES)
    }
    return tuple(sorted(found, key=lambda folder: (folder != ".", folder)))[:_MAX_PROJECTS]


def _is_named(path: str, names: frozenset[str]) -> bool:
    folders, _, name = path.rpartition("/")
    depth = folders.count("/") + 1 if folders else 0
    return name in names and depth <= _RECIPE_DEPTH and not _has_surrogates(path)


def _has_surrogates(text: str) -> bool:
    return any("\ud800" <= char <= "\udfff" for char in text)


def recipe_texts(
    git: GitRunner, mirror: Path, entries: Sequence[Entry], limits: FetchLimits
) -> tuple[dict[str, str], dict[str, str]]:
    """Texts of the files recipes are read from, nearest to the root first, and why others are missing."""
    candidates = sorted(
        (entry for entry in entries if entry.is_file and _is_named(entry.path, RECIPE_NAMES)),
        key=lambda entry: (entry.path.count("/"), entry.path),
    )
    unread: dict[str, str] = {}
    wanted: list[Entry] = []
    for entry in candidates:
        if entry.size > limits.recipe_file_bytes:
            unread[entry.path] = f"larger than {limits.recipe_file_bytes} bytes"
        elif len(wanted) >= limits.recipe_files:
            unread[entry.path] = f"more than {limits.recipe_files} such files"
        else:
            wanted.append(entry)
    texts: dict[str, str] = {}
    for entry, content in contents(git, mirror, wanted):
        try:
            texts[entry.path] = content.read().decode()
        except UnicodeDecodeError:
            unread[entry.path] = "not UTF-8"
    return texts, unread


def contents(git: GitRunner, mirror: Path, entries: Sequence[Entry]) -> Generator[tuple[Entry, BlobBytes]]:
    """Each entry's exact bytes in turn."""
    streams = git.contents(mirror, [entry.oid for entry in entries])
    for entry, (size, stream) in zip(entries, streams, strict=True):
        if size != entry.size:
            raise InvalidInput("The tree and its objects disagree.", code="source.unsound")
        yield entry, stream
