"""The version of what has none in its source: a program gets it from its tag or its commit."""

from __future__ import annotations

import re
import time

from packaging.version import InvalidVersion, Version

from buildfarm.errors import InvalidInput

_TAG = "refs/tags/"
#: What stands before the number in names of tags: `v1.0`, `release-1.0`, `jq-1.7`, `pkg/v1.0`.
_BEFORE = re.compile(r"(?:.*/)?(?:[A-Za-z][A-Za-z0-9]*[-_])*[vV]?(?=[0-9])")


def of_build(ref: str, commit: str, commit_time: int) -> str:
    """The PEP 440 version of a build: the tag's number, or the day and the commit of a branch.

    Args:
        ref: full name of the ref.
        commit: its commit, in hexadecimal.
        commit_time: of the commit, in seconds since 1970.

    Raises:
        InvalidInput: `version.tag`, the tag names no version.
    """
    if not ref.startswith(_TAG):
        day = time.strftime("%Y%m%d%H%M%S", time.gmtime(commit_time))
        return str(Version(f"0.dev{day}+g{commit[:9]}"))
    tag = ref.removeprefix(_TAG)
    try:
        return str(Version(_BEFORE.sub("", tag, count=1)))
    except InvalidVersion as error:
        raise InvalidInput(
            f'The tag "{tag[:100]}" names no version.',
            code="version.tag",
            hint="A program has the version of its tag: write it like v1.2.3.",
        ) from error
