"""Versions that the farm gives: a tag makes a release, everything else a dev build that says its commit.

A dev build has a local version (PEP 440), so that two pushes which left the project's version alone are two
releases, the later commit the newer one. A program, which has no version in its source, gets the whole of it
here.
"""

from __future__ import annotations

import re
import time

from packaging.version import InvalidVersion, Version

from buildfarm.errors import InvalidInput
from buildfarm.sources.contract import CommitFacts

#: How the full names of tags begin; what is built of one is a release, whatever else is a dev build.
TAGS = "refs/tags/"
#: What stands before the number in names of tags: `v1.0`, `release-1.0`, `jq-1.7`, `pkg/v1.0`.
_BEFORE = re.compile(r"(?:.*/)?(?:[A-Za-z][A-Za-z0-9]*[-_])*[vV]?(?=[0-9])")


def local_label(ref: str, commit: CommitFacts, request: int | None = None) -> str | None:
    """What a build's versions have behind their `+`: `20261129092504.g0123456789`; None for a tag.

    First comes when it was committed, in UTC, since installers compare numbers as numbers; where an ancestor
    says that it is no older, how many do (`20261129092504.1.g...`). Of a request: `20261129092504.pr17.g...`.

    Args:
        ref: full name of the ref; empty where a commit was asked for.
        commit: what is built.
        request: the number of the pull request that is built.
    """
    if ref.startswith(TAGS):
        return None
    parts = [
        time.strftime("%Y%m%d%H%M%S", time.gmtime(commit.commit_time)),
        str(commit.no_older or ""),
        f"pr{request}" if request else "",
        f"g{commit.commit[:9]}",
    ]
    return ".".join(part for part in parts if part)


def of_program(ref: str, label: str | None) -> str:
    """The PEP 440 version of a program: its tag's number, or 0 with the label of a dev build.

    Args:
        ref: full name of the ref.
        label: that of `local_label`.

    Raises:
        InvalidInput: `version.tag`, the tag names no version.
    """
    if label:
        return f"0+{label}"
    tag = ref.removeprefix(TAGS)
    try:
        return str(Version(_BEFORE.sub("", tag, count=1)))
    except InvalidVersion as error:
        raise InvalidInput(
            f'The tag "{tag[:100]}" names no version.',
            code="version.tag",
            hint="A program has the version of its tag: write it like v1.2.3.",
        ) from error
