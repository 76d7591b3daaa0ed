"""What people type for a source, a ref or a commit, and what it means."""

from __future__ import annotations

import re
from collections.abc import Sequence

from packaging.version import InvalidVersion, Version

from buildfarm.errors import InvalidInput
from buildfarm.sources.rules import checked_commit, checked_ref

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}", re.ASCII)
#: The version at the end of a monorepo's tag: `widget-1.0`, `widget/v1.0`, `release_1.0`.
_TAIL = re.compile(r".*[/_-](v?\d+\.[^/_-]*)", re.ASCII | re.DOTALL)

#: How the names of pull requests' channels begin; no other channel's does.
STAGE_PREFIX = "pr-"
TIERS = ("release", "dev", "untrusted")
#: A removed source is renamed to NAME~ID: its history stays, its name is free again.
REMOVED = "~"


def checked_name(name: str) -> str:
    """The name, when it can stand in a hook URL as it is.

    Raises:
        InvalidInput: `source.name`.
    """
    if not _NAME.fullmatch(name):
        raise InvalidInput(
            f"{name[:70]!r} cannot be the name of a source.",
            code="source.name",
            hint="Use up to 63 lower-case letters, digits and dashes, beginning with a letter or digit.",
        )
    return name


def checked_globs(globs: Sequence[str]) -> list[str]:
    """Patterns of branches, tags or paths; `*` stands for any characters, a slash too (fnmatch).

    Raises:
        InvalidInput: `source.glob`.
    """
    for glob in globs:
        if not glob.isprintable() or not 0 < len(glob) <= 250:
            raise InvalidInput(
                f"{glob[:70]!r} is no pattern of a branch, tag or path.",
                code="source.glob",
                hint="Write a name, with * for any characters, such as release/*.",
            )
    return list(globs)


def checked_tier(tier: str) -> str:
    """The tier of trust.

    Raises:
        InvalidInput: `source.tier`.
    """
    if tier not in TIERS:
        raise InvalidInput(
            f"There is no tier {tier!r}.", code="source.tier", hint=f"Choose of {', '.join(TIERS)}."
        )
    return tier


def full_ref(text: str) -> tuple[str, str | None]:
    """The full ref and the commit that a person means: a full ref, a commit id, or a short name.

    A short name that is or ends in a version (`v1`, `1.0`, `widget-1.0`) is a tag, any other a branch;
    whoever means it otherwise writes the full ref. A bare commit id has the empty ref.

    Raises:
        InvalidInput: `source.ref_refused`, `source.commit_refused`.
    """
    if _COMMIT.fullmatch(text):
        return "", checked_commit(text)
    if text.startswith("refs/"):
        return checked_ref(text), None
    kind = "tags" if _ends_in_version(text) else "heads"
    return checked_ref(f"refs/{kind}/{text}"), None


def _ends_in_version(text: str) -> bool:
    tail = _TAIL.fullmatch(text)
    return _is_version(text) or (tail is not None and _is_version(tail[1]))


def _is_version(text: str) -> bool:
    try:
        Version(text)
    except InvalidVersion:
        return False
    return True


def spoken(name: str) -> str:
    """What people are told of a source's name, which nobody has any more once it was removed."""
    first, removed, _ = name.partition(REMOVED)
    return f"{first} (removed)" if removed else name
