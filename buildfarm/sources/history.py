"""Which commits and tags a snapshot must hold so that version tools count as in a full clone.

setuptools-scm, versioneer, hatch-vcs, dunamai and pbr find the nearest tag and count the commits
since. A shallow repository can only cut *all* parents of a commit, so a cut at the wrong place (a
side branch that left before the tag, a merge of an older branch) changes counts without a word.

The cut is one commit X, and the history kept is everything reachable from the tip but not from X,
plus X. When X is an ancestor of every tag kept, then `TAG..tip` holds none of X's ancestors, so it
is the same set of commits as in the full clone, for every such tag.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from buildfarm.sources.gitrun import GitRunner

#: History this short is kept whole: a cut would save nothing and version tools warn about shallow clones.
_SHORT_HISTORY = 500
#: A package's tags (`pkg-a-1.0`) are looked for this many commits back; the nearest tag of all, anywhere.
_FAMILY_REACH = 5_000
_MAX_FAMILIES = 64
_FAMILY = re.compile(r"(?P<dotted>.*?)\d+(?:\.\d+)+|(?P<plain>\D*)\d")


@dataclass(frozen=True)
class Tag:
    """A tag as the repository has it: `target` is the tag object or the commit, `commit` the commit."""

    name: str
    target: str
    commit: str


@dataclass(frozen=True)
class History:
    """What a snapshot's `.git` holds: the commits whose parents are cut, and the tags kept."""

    reach: Literal["complete", "to-tag", "tip"]
    shallow: tuple[str, ...]
    tags: tuple[Tag, ...]
    describe_tag: str | None


def reachable_tags(git: GitRunner, mirror: Path, commit: str) -> dict[str, Tag]:
    """The tags whose commit is the given one or an ancestor of it, by name, in git's order."""
    merged = set(
        git.run(mirror, "for-each-ref", "--format=%(refname)", f"--merged={commit}", "refs/tags").splitlines()
    )
    target: dict[str, str] = {}
    peeled: dict[str, str] = {}
    for line in git.run(mirror, "show-ref", "--tags", "--dereference", ok=(0, 1)).splitlines():
        oid, _, ref = line.partition(" ")
        name = ref.removesuffix("^{}")
        if name in merged:
            (peeled if name != ref else target)[name] = oid
    return {
        name.removeprefix("refs/tags/"): Tag(name.removeprefix("refs/tags/"), oid, peeled.get(name, oid))
        for name, oid in target.items()
    }


def _nearest(git: GitRunner, mirror: Path, commit: str, pattern: str) -> str | None:
    return (
        git.run(mirror, "describe", "--tags", "--abbrev=0", f"--match={pattern}", commit, ok=(0, 128)) or None
    )


def _families(tags: Iterable[str]) -> list[str]:
    """The parts before the version number in these names, each once: `v`, `pkg-a-`, ..."""
    seen: dict[str, None] = {}
    for name in tags:
        if found := _FAMILY.match(name):
            seen.setdefault(found["plain"] if found["dotted"] is None else found["dotted"])
    return list(seen)[:_MAX_FAMILIES]


def _common_ancestor(git: GitRunner, mirror: Path, commits: Iterable[str]) -> str | None:
    """Some commit that is an ancestor of (or is) each of these; None when they share none."""
    distinct = sorted(set(commits))
    base = distinct[0]
    for start in range(1, len(distinct), 500):
        chunk = distinct[start : start + 500]
        base, *_ = [
            *git.run(mirror, "merge-base", "--octopus", base, *chunk, ok=(0, 1)).split(),
            "",
        ]
        if not base:
            return None
    return base


def _parents_above(git: GitRunner, mirror: Path, tip: str, cut: str) -> dict[str, list[str]]:
    lines = git.run(mirror, "rev-list", "--parents", tip, f"^{cut}").splitlines()
    return {commit: parents for commit, *parents in map(str.split, lines)}


def plan(git: GitRunner, mirror: Path, tip: str, *, short: int = _SHORT_HISTORY) -> History:
    """The least history from which every kept tag counts as in the full repository.

    Args:
        git: The runner of this request.
        mirror: A repository with full history of the tip and all its tags.
        tip: The commit of the snapshot.
        short: Commits up to which history is kept whole.
    """
    tags = reachable_tags(git, mirror, tip)
    nearest = _nearest(git, mirror, tip, "*[0-9]*")
    whole = History("complete", (), tuple(tags.values()), nearest)
    many = int(git.run(mirror, "rev-list", "--count", f"--max-count={short + 1}", tip)) > short
    if nearest not in tags or not many:
        return whole

    wanted = {tags[nearest].commit}
    for family in _families(tags):
        name = _nearest(git, mirror, tip, f"{family}[0-9]*")
        if name in tags:
            between = f"--max-count={_FAMILY_REACH + 1}"
            distance = git.run(mirror, "rev-list", "--count", between, tip, f"^{tags[name].commit}")
            if int(distance) <= _FAMILY_REACH:
                wanted.add(tags[name].commit)

    cut = _common_ancestor(git, mirror, {tip, *wanted})
    while cut is not None:
        parents = _parents_above(git, mirror, tip, cut)
        kept = parents.keys() | {cut}
        inner_tags = {tag.commit for tag in tags.values() if tag.commit in kept}
        # A merge of kept and older history cannot be cut in half: reach back to where they meet.
        loose_ends = {
            parent
            for commit in parents
            if any(other in kept for other in parents[commit])
            for parent in parents[commit]
            if parent not in kept
        }
        deeper = _common_ancestor(git, mirror, {cut, *inner_tags, *loose_ends})
        if deeper == cut:
            return _cut_at(cut, parents, tags, nearest, is_root=not _has_parents(git, mirror, cut))
        cut = deeper
    return whole


def _has_parents(git: GitRunner, mirror: Path, commit: str) -> bool:
    return len(git.run(mirror, "rev-list", "--parents", "--max-count=1", commit).split()) > 1


def _cut_at(
    cut: str,
    parents: Mapping[str, list[str]],
    tags: Mapping[str, Tag],
    nearest: str,
    *,
    is_root: bool,
) -> History:
    kept = parents.keys() | {cut}
    severed = {commit for commit, those in parents.items() if those and not any(p in kept for p in those)}
    shallow = tuple(sorted(severed if is_root else severed | {cut}))
    return History(
        "to-tag" if shallow else "complete",
        shallow,
        tuple(tag for tag in tags.values() if tag.commit in kept),
        nearest,
    )


def tip_only(git: GitRunner, mirror: Path, tip: str, whole: History) -> History:
    """The tip without its past, for a history too large to carry."""
    return History(
        "tip",
        (tip,) if _has_parents(git, mirror, tip) else (),
        tuple(tag for tag in whole.tags if tag.commit == tip),
        whole.describe_tag,
    )
