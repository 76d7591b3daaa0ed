"""Versions of programs, and the local ones of dev builds, from tags and commits."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from buildfarm.errors import InvalidInput
from buildfarm.farm.versions import local_label, of_program
from buildfarm.sources.contract import CommitFacts

COMMIT = "0123456789abcdef0123456789abcdef01234567"
NOON = 1_700_000_000
TIME = "20231114221320"


def committed(at: int = NOON, no_older: int = 0, commit: str = COMMIT) -> CommitFacts:
    told = {"tree": commit, "author_time": at, "author": "", "subject": ""}
    return CommitFacts(commit=commit, commit_time=at, no_older=no_older, **told)


@pytest.mark.parametrize(
    ("tag", "version"),
    [
        ("v1.2.3", "1.2.3"), ("1.2", "1.2"), ("release-2.0rc1", "2.0rc1"), ("jq-1.7.1", "1.7.1"),
        ("tools/v0.3", "0.3"), ("my_tool-V4", "4"), ("2026.11", "2026.11"), ("lib2-3.4", "3.4"),
    ],
)  # fmt: skip
def test_a_tag_is_a_version(tag, version):
    assert of_program(f"refs/tags/{tag}", None) == version


@pytest.mark.parametrize("tag", ["latest", "v", "release-x", "v1.2.3-beta-of-mine!", ""])
def test_a_tag_without_a_version_is_refused(tag):
    with pytest.raises(InvalidInput, match="names no version") as refused:
        of_program(f"refs/tags/{tag}", None)
    assert refused.value.code == "version.tag"


SECONDS = st.integers(min_value=0, max_value=1 << 64)
COUNTS = st.integers(min_value=0, max_value=1 << 40)
COMMITS = st.text("0123456789abcdef", min_size=40, max_size=40)
REQUESTS = st.none() | st.integers(min_value=1, max_value=(1 << 63) - 1)


@given(SECONDS, SECONDS, COUNTS, COUNTS, COMMITS, COMMITS, REQUESTS, REQUESTS)
def test_the_later_commit_is_the_newer_version(at, then, before, more, first, second, request_, other):
    earlier, later = sorted((committed(at, before, first), committed(then, before, second)), key=_time)
    if earlier.commit_time == later.commit_time:
        later = later.model_copy(update={"no_older": earlier.no_older + 1 + more})
    labels = local_label("refs/heads/main", earlier, request_), local_label("refs/heads/x", later, other)
    for project in ("1.0+{}", "0+{}"):
        assert Version(project.format(labels[0])) < Version(project.format(labels[1]))
    assert Version("1.0+pr17.gfffffffff") < Version(f"1.0+{labels[0]}")


def _time(commit: CommitFacts) -> int:
    return commit.commit_time


@given(st.text(max_size=40))
def test_any_ref_gives_a_program_a_version_or_a_sentence(ref):
    assert Version(of_program(f"refs/heads/{ref}", "1.g0123")) < Version("0.1")
    with contextlib.suppress(InvalidInput):
        Version(of_program(f"refs/tags/{ref}", None))


@pytest.mark.parametrize(
    ("ref", "request_", "no_older", "label"),
    [
        ("refs/tags/v1.0", None, 0, None),
        ("refs/heads/main", None, 0, f"{TIME}.g012345678"), ("", None, 0, f"{TIME}.g012345678"),
        ("refs/heads/main", None, 2, f"{TIME}.2.g012345678"),
        ("refs/pull/17/head", 17, 0, f"{TIME}.pr17.g012345678"),
        ("refs/heads/topic", 4, 1, f"{TIME}.1.pr4.g012345678"),
    ],
)  # fmt: skip
def test_what_is_no_tag_has_a_label_of_its_commit(ref, request_, no_older, label):
    assert local_label(ref, committed(no_older=no_older), request_) == label


@given(REQUESTS, COMMITS, SECONDS, COUNTS)
def test_any_label_is_a_local_version_as_it_is_written(request_, commit, at, no_older):
    label = local_label("refs/pull/1/head", committed(at, no_older, commit), request_)
    assert Version(f"1.0+{label}").local == label
    assert Version(f"1.0+{label}") in SpecifierSet(">=1.0")
    assert Version(f"1.0+{label}") in SpecifierSet("==1.0")
