"""The mirror of one source: a bare repository that keeps what earlier fetches brought.

It is a cache: anything in it may be thrown away, and nothing in it is believed. What a request's ref
holds is asked of the repository each time; the mirror only spares sending objects twice. Whoever
works in it holds the source's lock, so files that look in use are a killed fetch's leftovers.
"""

from __future__ import annotations

import fnmatch
import hashlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from buildfarm.errors import Conflict, FarmError, InvalidInput, LimitExceeded, NotFound
from buildfarm.sources.contract import FetchRequest, Held
from buildfarm.sources.gitrun import GitRunner

_REPACK_AT = 40
_FETCH = (
    "fetch", "--quiet", "--no-tags", "--force", "--no-recurse-submodules", "--no-write-fetch-head",
    "--no-auto-maintenance",
)  # fmt: skip
_ALL_BRANCHES = "+refs/heads/*:refs/farm/heads/*"
_ALL_TAGS = "+refs/tags/*:refs/tags/*"


def _too_large(limit: int) -> LimitExceeded:
    return LimitExceeded(
        f"The repository is larger than the {limit} bytes this source may take.",
        code="source.too_large",
        hint="Raise the source's size limit, or move large files out of the history.",
        limit=limit,
    )


def _place(ref: str) -> str:
    """One place per ref: branches `a` and `a/b` of different days would not fit side by side."""
    return f"refs/farm/one/{hashlib.sha256(ref.encode()).hexdigest()[:32]}"


class Mirror:
    """The bare repository and what one request fetches into it."""

    def __init__(self, path: Path, git: GitRunner) -> None:
        self.path = path
        self._git = git

    def prepare(self) -> None:
        """Make the repository if there is none that works, and sweep up after a killed fetch."""
        for leftover in [*self.path.rglob("*.lock"), *self._unfinished_packs()]:
            leftover.unlink(missing_ok=True)
        try:
            self._git.run(self.path, "rev-parse", "--git-dir")
        except FarmError:
            self.empty()
            self._create("sha1")

    def _unfinished_packs(self) -> list[Path]:
        return list(self.path.glob("objects/pack/tmp_*"))

    def empty(self) -> None:
        """Throw away what the mirror holds; its folder stays, it may lie where only root can make one."""
        for path in self.path.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()

    def _create(self, object_format: str) -> None:
        self._git.run(
            self.path, "init", "--quiet", "--bare", "--template=", f"--object-format={object_format}"
        )

    def fetch(self, request: FetchRequest) -> str:
        """Bring the request's ref and all tags, and return the commit to build.

        Raises:
            NotFound: `source.ref_unknown`, `source.commit_unknown`.
            Conflict: `source.tag_moved`, `source.commit_gone`: the ref no longer holds the commit.
            LimitExceeded: `source.too_large`.
            FarmError: Whatever else git meets, from `faults`.
        """
        if request.ref:
            wanted = _place(request.ref)
            refspecs = [f"+{request.ref}:{wanted}", _ALL_TAGS]
        else:
            wanted = ""
            refspecs = [_ALL_BRANCHES, _ALL_TAGS]
        try:
            with self._bounded(request.limits.bytes):
                self._bring(request.url, refspecs)
        except NotFound as error:
            if wanted and error.code == "source.ref_unknown":
                self._git.run(self.path, "update-ref", "-d", wanted)
            raise
        self._keep_small(request.limits.bytes)
        return self._settle(request, wanted)

    @contextmanager
    def _bounded(self, limit: int) -> Iterator[None]:
        try:
            yield
        except FarmError as error:
            # git does not say that the file-size limit ended its index-pack; what that left does.
            unfinished = self._unfinished_packs()
            is_full = any(pack.stat().st_size >= limit for pack in unfinished)
            for pack in unfinished:
                pack.unlink()
            if is_full:
                raise _too_large(limit) from error
            raise

    def bring_commit(self, url: str, commit: str, *, limit: int) -> None:
        """Bring one commit of another repository, unless an earlier fetch did.

        Raises:
            NotFound: `source.commit_unknown`.
            LimitExceeded: `source.too_large`.
            FarmError: Whatever else git meets, from `faults`.
        """
        kept = f"refs/farm/modules/{commit}"
        if self._commit_of(kept) is None:
            with self._bounded(limit):
                self._git.run(self.path, *_FETCH, "--end-of-options", url, f"+{commit}:{kept}")
            self._keep_small(limit)

    def _bring(self, url: str, refspecs: list[str]) -> None:
        arguments = (*_FETCH, "--prune", "--end-of-options", url, *refspecs)
        try:
            self._git.run(self.path, *arguments)
        except FarmError as error:
            if "mismatched algorithms" not in str(error.facts.get("git", "")):
                raise
            # A SHA-256 repository: only talking to it tells.
            self.empty()
            self._create("sha256")
            self._git.run(self.path, *arguments)

    def _keep_small(self, limit: int) -> None:
        packs = self.path / "objects" / "pack"
        if len(list(packs.glob("*.pack"))) > _REPACK_AT or self._size() > limit:
            self._git.run(self.path, "repack", "-a", "-d", "--quiet")
            self._git.run(self.path, "pack-refs", "--all")
        if self._size() > limit:
            raise _too_large(limit)

    def _size(self) -> int:
        return sum(path.lstat().st_size for path in (self.path / "objects").rglob("*") if path.is_file())

    def _commit_of(self, name: str) -> str | None:
        arguments = ("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
        return self._git.run(self.path, *arguments, ok=(0, 1, 128)) or None

    def _settle(self, request: FetchRequest, wanted: str) -> str:
        head = self._commit_of(wanted) if wanted else None
        if wanted and head is None:
            raise InvalidInput("The tag does not name a commit.", code="source.not_a_commit", ref=request.ref)
        if request.commit is None:
            if head is None:
                raise InvalidInput("A fetch names a ref, a commit or both.", code="source.nothing_asked")
            return head
        # Hooks of some hosts announce an annotated tag's own id: peel it as well.
        commit = self._commit_of(request.commit)
        if not wanted:
            if commit is None or not self._is_in_some_ref(commit):
                # A host may serve commits of forks by id; only what a ref holds belongs to the source.
                raise NotFound(
                    "No branch or tag of the repository holds this commit.",
                    code="source.commit_unknown",
                    commit=request.commit,
                )
            return commit
        if commit is not None and commit == head:
            return commit
        if request.ref.startswith("refs/tags/"):
            raise Conflict(
                "The tag no longer names the announced commit.",
                code="source.tag_moved",
                hint="If the move was meant, start a build of the tag as it is now.",
                ref=request.ref, announced=request.commit, found=head,
            )  # fmt: skip
        if commit is None or head is None or not self._is_ancestor(commit, head):
            raise Conflict(
                "The branch does not hold the announced commit (any more).",
                code="source.commit_gone",
                hint="It was rewritten after the push; the newer push has a build of its own.",
                ref=request.ref, announced=request.commit, found=head,
            )  # fmt: skip
        return commit

    def touched(self, request: FetchRequest, commit: str) -> bool:
        """Whether a file of the request's `paths` differs between its `since`, or `base`, and the commit.

        True where that cannot be known: nothing to compare with is asked for, or it is no longer here.
        """
        since = self._parted(request, commit) if request.base else request.since
        if not since or self._commit_of(since) is None:
            return True
        arguments = ("diff-tree", "-r", "-z", "--name-only", "--no-renames", since, commit)
        names = self._git.run(self.path, *arguments).split("\0")
        return any(fnmatch.fnmatchcase(name, glob) for name in names if name for glob in request.paths)

    def _parted(self, request: FetchRequest, commit: str) -> str:
        """Where the commit's history parted from the request's `base`; empty where it has no such branch."""
        place = _place(request.base)
        with self._bounded(request.limits.bytes):
            try:
                self._git.run(self.path, *_FETCH, "--end-of-options", request.url, f"+{request.base}:{place}")
            except NotFound:
                return ""
        self._keep_small(request.limits.bytes)
        return self._git.run(self.path, "merge-base", place, commit, ok=(0, 1))

    def _is_ancestor(self, older: str, newer: str) -> bool:
        # `merge-base --is-ancestor` answers by exit status; this answers by output.
        return self._git.run(self.path, "rev-list", "--max-count=1", older, f"^{newer}") == ""

    def _is_in_some_ref(self, commit: str) -> bool:
        arguments = ("for-each-ref", "--count=1", "--format=%(refname)", f"--contains={commit}")
        return self._git.run(self.path, *arguments, "refs/farm/heads", "refs/tags") != ""

    def list_refs(self, url: str, *, limit: int) -> dict[str, Held]:
        """Branches and tags of the repository now, each with what it holds.

        Raises:
            LimitExceeded: `source.too_many_refs`.
            FarmError: Whatever git meets, from `faults`.
        """
        told = self._git.run(self.path, "ls-remote", "--quiet", "--heads", "--tags", "--end-of-options", url)
        lines = told.splitlines()
        if len(lines) > limit:
            raise LimitExceeded(
                f"The repository has more than {limit} refs.", code="source.too_many_refs", limit=limit
            )
        refs: dict[str, Held] = {}
        for line in lines:
            oid, _, ref = line.partition("\t")
            name = ref.removesuffix("^{}")  # the peeled line follows the tag's own
            refs[name] = Held(commit=oid, tag=refs[name].commit if name != ref else None)
        return refs
