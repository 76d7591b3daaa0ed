"""The `.git` of a snapshot: written file by file, so that it holds what is named here and no more.

No remotes, hooks, reflogs, alternates or identity; nothing depends on when or where it was made.
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Sequence
from pathlib import Path

from buildfarm.errors import LimitExceeded
from buildfarm.sources.gitrun import GitRunner
from buildfarm.sources.history import History

#: The tree is exact bytes, and git is told to compare exact bytes; highest precedence, gitattributes(5).
_ATTRIBUTES = "* -text -ident -filter !working-tree-encoding\n"


HISTORY_TOO_LARGE = "source.history_too_large"


def write(
    git: GitRunner, mirror: Path, into: Path, *, commit: str, ref: str, history: History, limit: int | None
) -> None:
    """Write a git directory that holds the commit, its history and an index of its tree.

    HEAD is on the branch a build was asked for, as in a developer's clone, and detached at a tag's
    commit or a bare commit, as `git checkout TAG` leaves it.

    Args:
        git: The runner of this request.
        mirror: Where the objects are.
        into: The folder to make.
        commit: What HEAD names.
        ref: The ref that was asked for, or nothing.
        history: What `history.plan` decided.
        limit: Bytes the objects may take; None for no limit of their own.

    Raises:
        LimitExceeded: `source.history_too_large`.
    """
    for folder in ("objects/info", "objects/pack", "refs/heads", "refs/tags", "info"):
        (into / folder).mkdir(parents=True)
    is_branch = ref.startswith("refs/heads/")
    _text(into / "HEAD", f"ref: {ref}\n" if is_branch else f"{commit}\n")
    _text(into / "config", _config(is_sha256=len(commit) == 64))
    _text(into / "info/attributes", _ATTRIBUTES)
    refs = [(f"refs/tags/{tag.name}", tag.target, tag.commit) for tag in history.tags]
    if is_branch:
        refs.append((ref, commit, commit))
    _text(into / "packed-refs", _packed_refs(refs))
    if history.shallow:
        _text(into / "shallow", "".join(f"{oid}\n" for oid in history.shallow))
    _pack(git, mirror, into, [commit, *(tag.target for tag in history.tags)], limit)
    git.run(into, "read-tree", commit)
    # A reader has only what is here: prove now that nothing is missing.
    git.run(into, "rev-list", "--quiet", "--objects", "--all", commit)


def assume_unchanged(git: GitRunner, folder: Path, paths: Collection[str]) -> None:
    """Have git take the files at these paths for what the index names: no filter tells it that they are."""
    if paths:
        with tempfile.TemporaryFile(dir=folder) as names:
            names.write("".join(f"{path}\0" for path in paths).encode("utf-8", "surrogateescape"))
            names.seek(0)
            git.run(folder, "update-index", "--assume-unchanged", "-z", "--stdin", stdin=names)


def _text(path: Path, text: str) -> None:
    path.write_bytes(text.encode("utf-8", "surrogateescape"))


def _config(*, is_sha256: bool) -> str:
    text = f"[core]\n\trepositoryformatversion = {int(is_sha256)}\n\tfilemode = true\n\tbare = false\n"
    return text + ("[extensions]\n\tobjectformat = sha256\n" if is_sha256 else "")


def _packed_refs(refs: Sequence[tuple[str, str, str]]) -> str:
    lines = ["# pack-refs with: peeled fully-peeled sorted "]
    for name, target, peeled in sorted(refs, key=lambda ref: ref[0].encode("utf-8", "surrogateescape")):
        lines.append(f"{target} {name}")
        if peeled != target:
            lines.append(f"^{peeled}")
    return "\n".join(lines) + "\n"


def _pack(git: GitRunner, mirror: Path, into: Path, tips: Sequence[str], limit: int | None) -> None:
    packs = into / "objects" / "pack"
    with tempfile.TemporaryFile(dir=into) as wanted:
        wanted.write("".join(f"{oid}\n" for oid in tips).encode())
        wanted.seek(0)
        # Deltas found afresh in one thread: the pack depends on the objects, not on the mirror's past.
        git.run(
            into, "pack-objects", "--quiet", "--revs", "--no-reuse-object",
            "--no-use-bitmap-index", str(packs / "pack"),
            stdin=wanted, GIT_ALTERNATE_OBJECT_DIRECTORIES=str(mirror / "objects"),
        )  # fmt: skip
    size = sum(path.stat().st_size for path in packs.iterdir())
    if limit is not None and size > limit:
        raise LimitExceeded("The history is too large to carry.", code=HISTORY_TOO_LARGE, size=size)
