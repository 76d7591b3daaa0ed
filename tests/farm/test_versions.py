"""Versions of programs, from tags and commits."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.version import Version

from buildfarm.errors import InvalidInput
from buildfarm.farm.versions import of_build

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    ("tag", "version"),
    [
        ("v1.2.3", "1.2.3"), ("1.2", "1.2"), ("release-2.0rc1", "2.0rc1"), ("jq-1.7.1", "1.7.1"),
        ("tools/v0.3", "0.3"), ("my_tool-V4", "4"), ("2026.11", "2026.11"), ("lib2-3.4", "3.4"),
    ],
)  # fmt: skip
def test_a_tag_is_a_version(tag, version):
    assert of_build(f"refs/tags/{tag}", COMMIT, 0) == version


@pytest.mark.parametrize("tag", ["latest", "v", "release-x", "v1.2.3-beta-of-mine!", ""])
def test_a_tag_without_a_version_is_refused(tag):
    with pytest.raises(InvalidInput, match="names no version") as refused:
        of_build(f"refs/tags/{tag}", COMMIT, 0)
    assert refused.value.code == "version.tag"


def test_later_commits_of_a_branch_are_later_versions():
    first, second = (of_build("refs/heads/main", COMMIT, at) for at in (1_700_000_000, 1_700_000_001))
    assert Version(first) < Version(second) < Version("0.1")
    assert first.endswith("+g012345678")


@given(st.text(max_size=40), st.integers(min_value=0, max_value=4_000_000_000))
def test_any_ref_gives_a_version_or_a_sentence(ref, when):
    Version(of_build(f"refs/heads/{ref}", COMMIT, when))
    with contextlib.suppress(InvalidInput):
        Version(of_build(f"refs/tags/{ref}", COMMIT, when))
