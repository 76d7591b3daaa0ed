from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.version import Version

from buildfarm.errors import InvalidInput
from buildfarm.mirror.judge import Candidate, Finding, Judge
from buildfarm.mirror.policy import Policy, load, parse

NOW = datetime(2026, 11, 24, tzinfo=UTC)
GHSA = Finding("GHSA-1", frozenset({"CVE-2026-1"}), is_malware=False, summary="bad")
MALWARE = Finding("MAL-2026-1", frozenset(), is_malware=True, summary="steals tokens")


def candidate(filename: str = "foo-1.0-py3-none-any.whl", **more: object) -> Candidate:
    facts: dict[str, object] = {
        "project": "foo",
        "version": Version("1.0"),
        "is_wheel": filename.endswith(".whl"),
        "uploaded_at": NOW - timedelta(days=100),
        "first_seen_at": NOW,
        "is_attested": False,
    }
    return Candidate(filename, **(facts | more))  # type: ignore[arg-type]


def rule(policy: str, one: Candidate | None = None, findings=(), lifted=()) -> str | None:
    refusal = Judge(parse(policy)).refusal(one or candidate(), findings, NOW, lifted)
    return refusal.rule if refusal else None


@pytest.mark.parametrize(
    ("policy", "one", "expected"),
    [
        ("", candidate(), None),
        ('deny = ["foo"]', candidate(), "deny"),
        ('deny = ["foo<1"]', candidate(), None),
        ('deny = ["Foo>=1"]', candidate(), "deny"),
        ('deny = ["f*"]', candidate(), "deny"),
        ('deny = ["*"]', candidate(), "deny"),
        ('deny = ["foo<=2"]', candidate(version=Version("2.0a1")), "deny"),
        ('allow = ["bar", "acme-*"]', candidate(), "allow"),
        ('allow = ["bar", "foo"]', candidate(), None),
        ('allow = ["acme-*"]', candidate(project="acme-x"), None),
        ('allow = ["foo>1"]', candidate(version=None), "allow"),
        ('file_types = ["wheel"]', candidate("foo-1.0.tar.gz"), "file-type"),
        ('file_types = ["wheel"]', candidate(), None),
        ("only_attested = true", candidate(), "attested"),
        ("only_attested = true", candidate(is_attested=True), None),
        ("minimum_age_days = 7", candidate(), None),
        ("minimum_age_days = 101", candidate(), "age"),
        ("minimum_age_days = 7", candidate(uploaded_at=None), "age"),
        # A time in the future is no reason to wait longer than from the first sight on.
        (
            "minimum_age_days = 7",
            candidate(uploaded_at=NOW + timedelta(days=9), first_seen_at=NOW - timedelta(days=8)),
            None,
        ),
        ('allow_licences = ["MIT"]', candidate(), "licence"),
        ('allow_licences = ["MIT", "BSD-*"]', candidate(licences=["bsd-3-clause"]), None),
        ('allow_licences = ["MIT"]', candidate(licences=["MIT", "GPL-3.0-only"]), "licence"),
        ('deny_licences = ["AGPL-*"]', candidate(licences=["AGPL-3.0-only"]), "licence"),
        ('deny_licences = ["AGPL-*"]', candidate(licences=["MIT"]), None),
    ],
)
def test_each_rule_refuses_what_it_says_and_nothing_else(policy, one, expected):
    assert rule(policy, one) == expected


def test_malware_is_blocked_unless_somebody_says_otherwise():
    assert rule("", findings=[GHSA, MALWARE]) == "malware"
    assert rule('malware = "pass"', findings=[GHSA, MALWARE]) is None


def test_vulnerabilities_are_blocked_when_the_policy_says_so_and_can_be_waved_through():
    assert rule("", findings=[GHSA]) is None
    assert rule('vulnerabilities = "block"', findings=[GHSA]) == "vulnerability"
    for known_as in ("GHSA-1", "CVE-2026-1"):
        ignored = f'vulnerabilities = "block"\nignore_advisories = ["{known_as}"]'
        assert rule(ignored, findings=[GHSA]) is None


def test_a_lifted_rule_lets_through_and_the_next_one_still_holds():
    policy = 'minimum_age_days = 200\ndeny = ["foo"]'
    assert rule(policy) == "deny"
    assert rule(policy, lifted=["deny"]) == "age"
    assert rule(policy, lifted=["deny", "age"]) is None


def test_the_refusal_by_age_says_until_when():
    refusal = Judge(parse("minimum_age_days = 101")).refusal(candidate(), [], NOW)
    assert refusal is not None
    assert refusal.until == NOW + timedelta(days=1)
    assert "2026-11-25" in refusal.sentence


@pytest.mark.parametrize(
    ("text", "code", "word"),
    [
        ("minimum_age_days = ", "policy.syntax", "TOML"),
        ("minimum_age = 7", "policy.unknown", "minimum_age_days"),
        ("minimum_age_days = -1", "policy.value", "minimum_age_days"),
        ('deny = ["foo bar"]', "policy.value", "foo bar"),
        ('deny = ["foo @ https://x.invalid/foo.whl"]', "policy.value", "more than a name"),
        ('file_types = ["egg"]', "policy.value", "file_types"),
    ],
)
def test_what_is_no_policy_is_refused_with_its_place(text, code, word):
    with pytest.raises(InvalidInput) as caught:
        parse(text)
    assert caught.value.code == code
    assert word in str(caught.value)


@given(
    st.dictionaries(
        st.sampled_from(sorted(Policy.model_fields)),
        st.lists(st.text("ab*<>=-1.@ é", max_size=9)) | st.integers(),
    )
)
def test_any_data_is_a_policy_or_refused_with_a_sentence(data):
    with contextlib.suppress(InvalidInput):
        Judge(load(data)).refusal(candidate(), [GHSA], NOW)
