"""Submodules, for recipes that ask for them: each one's tree in its place, by the commit that the tree names.

A `.gitmodules` file is the author's word, so each URL in it is judged like a source's, and must be at the
source's own host: its credential and the addresses that were judged are good for that one alone.
"""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from dataclasses import replace
from urllib.parse import urlsplit

from buildfarm.errors import InvalidInput, LimitExceeded
from buildfarm.sources import trees
from buildfarm.sources.contract import FetchRequest
from buildfarm.sources.gitrun import GitRunner
from buildfarm.sources.mirror import Mirror
from buildfarm.sources.rules import checked_url
from buildfarm.sources.trees import Entry

_DEEPEST = 5
_MOST = 64
_FILE = ".gitmodules"


def filled(
    git: GitRunner, mirror: Mirror, request: FetchRequest, commit: str, entries: Sequence[Entry]
) -> list[Entry]:
    """The entries of a commit, those of its submodules and of theirs in the places of the submodules.

    Raises:
        InvalidInput: `source.submodule_unknown`, `.gitmodules` does not say where it is;
            `source.submodule_elsewhere`, it is at another host; `source.url_refused`.
        NotFound: `source.commit_unknown`.
        LimitExceeded: `source.too_many_submodules`; as `trees.listing` for each of them.
    """
    return _Filler(git, mirror, request).fill(request.url, commit, entries, depth=0)


class _Filler:
    def __init__(self, git: GitRunner, mirror: Mirror, request: FetchRequest) -> None:
        self._git, self._mirror, self._request = git, mirror, request
        self._left = _MOST

    def fill(self, url: str, commit: str, entries: Sequence[Entry], *, depth: int) -> list[Entry]:
        if not any(entry.is_submodule for entry in entries):
            return list(entries)
        if depth == _DEEPEST:
            raise LimitExceeded(
                f"Submodules hold submodules more than {_DEEPEST} deep.", code="source.too_many_submodules"
            )
        urls = self._urls(commit, entries)
        found: list[Entry] = []
        for entry in entries:
            found += self._inside(url, urls, entry, depth) if entry.is_submodule else [entry]
        return found

    def _inside(self, parent: str, urls: dict[str, str], entry: Entry, depth: int) -> list[Entry]:
        self._left -= 1
        if self._left < 0:
            raise LimitExceeded(f"There are more than {_MOST} submodules.", code="source.too_many_submodules")
        url = self._judged(parent, urls.get(entry.path), entry.path)
        self._mirror.bring_commit(url, entry.oid, limit=self._request.limits.bytes)
        inner = trees.listing(self._git, self._mirror.path, entry.oid, self._request.limits)
        below = self.fill(url, entry.oid, inner, depth=depth + 1)
        return [replace(one, path=f"{entry.path}/{one.path}") for one in below] or [entry]

    def _urls(self, commit: str, entries: Sequence[Entry]) -> dict[str, str]:
        """What `.gitmodules` says, by path, read by git itself (gitmodules(5))."""
        if not any(entry.path == _FILE and entry.is_file for entry in entries):
            return {}
        told = self._git.run(
            self._mirror.path, "config", f"--blob={commit}:{_FILE}", "--null", "--list", "--no-includes"
        )
        said: dict[str, dict[str, str]] = {}
        for line in told.split("\0"):
            key, _, value = line.partition("\n")
            section, _, name = key.rpartition(".")
            said.setdefault(section, {})[name] = value
        return {one["path"]: one["url"] for one in said.values() if "path" in one and "url" in one}

    def _judged(self, parent: str, url: str | None, path: str) -> str:
        path = trees.printable(path)
        if url is None:
            raise InvalidInput(
                "`.gitmodules` does not say where a submodule is.", code="source.submodule_unknown", path=path
            )
        if url.startswith(("./", "../")):
            base = urlsplit(parent)
            url = base._replace(path=posixpath.normpath(posixpath.join(base.path, url))).geturl()
        judged = checked_url(url, allow_file=self._request.allow_file)
        own = checked_url(self._request.url, allow_file=self._request.allow_file)
        if (judged.scheme, judged.host, judged.port) != (own.scheme, own.host, own.port):
            raise InvalidInput(
                f"The submodule {path} is at {urlsplit(url).hostname or 'this machine'}, and not at the "
                "source's own host, the only one that its credential and policy speak of.",
                code="source.submodule_elsewhere",
                hint="Give `.gitmodules` a relative URL to a repository or mirror at the source's host.",
                path=path,
            )
        return url
