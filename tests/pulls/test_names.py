"""Names of stages, and the refs that SCMs keep for pull requests."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildfarm.errors import InvalidInput
from buildfarm.index.channels import RESERVED
from buildfarm.sources.pulls import checked_policy, stage_name
from buildfarm.sources.rules import checked_fetched_ref, checked_ref

SOURCES = st.from_regex(r"[a-z0-9][a-z0-9-]{0,62}", fullmatch=True)
NUMBERS = st.integers(1, (1 << 63) - 1)


@given(SOURCES, NUMBERS)
def test_a_stage_has_a_channel_s_name_that_nobody_else_can_give(source: str, number: int) -> None:
    name = stage_name(source, number)
    assert re.fullmatch(r"pr-[a-z0-9][a-z0-9-]*-[0-9]+", name)
    assert len(name) <= 63
    assert name not in RESERVED


@given(SOURCES, NUMBERS, SOURCES, NUMBERS)
def test_two_requests_have_two_stages(one: str, number: int, other: str, its: int) -> None:
    is_same = (one, number) == (other, its)
    assert (stage_name(one, number) == stage_name(other, its)) == is_same


@pytest.mark.parametrize(
    "ref", ["refs/pull/17/head", "refs/merge-requests/1/head", "refs/pull-requests/9/from"]
)
def test_refs_of_requests_are_fetched_and_named_by_nobody(ref: str) -> None:
    assert checked_fetched_ref(ref) == ref
    with pytest.raises(InvalidInput):
        checked_ref(ref)


@pytest.mark.parametrize(
    "ref",
    [
        "refs/pull/17/merge", "refs/pull/0/head", "refs/pull/-1/head", "refs/pull/1/head/x",
        "refs/pull/1\n/head", "refs/pull/\u0661/head", "refs/pull-requests/9/head",
        "refs/merge-requests//head", "refs/notes/x", "refs/pull/99999999999999999999/head",
    ],
)  # fmt: skip
def test_other_refs_are_not(ref: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        checked_fetched_ref(ref)
    assert refusal.value.code == "source.ref_refused"


def test_a_policy_nobody_knows_names_those_there_are() -> None:
    with pytest.raises(InvalidInput) as refusal:
        checked_policy("all")
    assert refusal.value.code == "source.pull_requests"
    assert "own" in refusal.value.hint
