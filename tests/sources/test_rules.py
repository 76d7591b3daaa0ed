"""Which URLs, refs and commits are taken."""

from __future__ import annotations

import ipaddress
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from buildfarm.errors import InvalidInput
from buildfarm.sources.rules import checked_address, checked_commit, checked_ref, checked_url

HOSTILE_URLS = [
    "",
    "ext::sh -c touch% /tmp/x",
    "ext::sh",
    "fd::17/foo",
    "https::https://ghe.example/a/b",
    "-uhelper",
    "--upload-pack=touch /tmp/x",
    "--config=core.sshCommand=x",
    "ssh://-oProxyCommand=x/y",
    "ssh://git@-oProxyCommand=x/y",
    "ssh://-oProxyCommand=x@ghe.example/y",
    "ssh://git:secret@ghe.example/y",
    "ssh://git;x@ghe.example/y",
    "ssh://ghe.example/-y",
    "git://ghe.example/a",
    "ftp://ghe.example/a",
    "rsync://ghe.example/a",
    "HTTPS://ghe.example/a",
    "http://ghe.example/a",
    "http://127.0.0.1.evil.example/a",
    "https://user:secret@ghe.example/a",
    "https://user@ghe.example/a",
    "https://token@127.0.0.1/a",
    "https://ghe.example/a\n--upload-pack=x",
    "https://ghe.example/a\0b",
    "https://ghe.example/a b",
    "https://ghe.example\\@evil.example/a",
    "https://ghe.example/a?x=1",
    "https://ghe.example/a#x",
    "https://ghe.example",
    "https://ghe.example/",
    "https:///a/b",
    "https://ghe.example:99999/a",
    "https://ghe.example:x/a",
    "https://ghe.example/../../etc",
    "https://ghe.example/%2e%2e/etc",
    "https://ghe..example/a",
    "https://[::1/a",
    "https://169.254.169.254/latest",
    "https://[::ffff:169.254.169.254]/latest",
    "https://[fe80::1]/a",
    "https://224.0.0.1/a",
    "https://0.0.0.0/a",
    "https://ghe.example/\u202ea",
    "/srv/git/a",
    "../a",
    "file:///srv/git/a",
    "git@ghe.example:a/b.git",
    "https://ghe.example/" + "a" * 3000,
]


@pytest.mark.parametrize("url", HOSTILE_URLS)
def test_a_url_that_is_not_plainly_a_repository_is_refused_and_not_repeated(url: str):
    with pytest.raises(InvalidInput) as refusal:
        checked_url(url, allow_file=False)
    assert refusal.value.code == "source.url_refused"
    assert "secret" not in str(refusal.value)


@pytest.mark.parametrize(
    ("url", "scheme", "host", "port"),
    [
        ("https://ghe.example/team/project.git", "https", "ghe.example", 443),
        ("https://ghe.example:8443/team/project", "https", "ghe.example", 8443),
        ("https://10.1.2.3/team/project", "https", "10.1.2.3", 443),
        ("ssh://git@ghe.example/team/project.git", "ssh", "ghe.example", 22),
        ("ssh://git@ghe.example:7999/~team/project.git", "ssh", "ghe.example", 7999),
        ("http://127.0.0.1:8080/project", "http", "127.0.0.1", 8080),
        ("http://[::1]:8080/project", "http", "::1", 8080),
        ("http://localhost/project", "http", "localhost", 80),
    ],
)
def test_ordinary_urls_are_taken_apart(url: str, scheme: str, host: str, port: int):
    taken = checked_url(url, allow_file=False)
    assert (taken.text, taken.scheme, taken.host, taken.port) == (url, scheme, host, port)


def test_a_file_url_needs_permission_and_no_host():
    assert checked_url("file:///srv/git/a", allow_file=True).scheme == "file"
    for url in ("file://host/srv/git/a", "file:srv", "file://", "file:///a\nb"):
        with pytest.raises(InvalidInput):
            checked_url(url, allow_file=True)


HOSTILE_REFS = [
    "",
    "main",
    "HEAD",
    "heads/main",
    "refs/heads/",
    "refs/heads//a",
    "refs/heads/a/",
    "refs/heads/-a",
    "refs/heads/a/-b",
    "refs/heads/.a",
    "refs/heads/a/.b",
    "refs/heads/a..b",
    "refs/heads/a@{1}",
    "refs/heads/@",
    "refs/heads/HEAD",
    "refs/heads/a.lock",
    "refs/heads/a.lock/b",
    "refs/heads/a.",
    "refs/heads/a b",
    "refs/heads/a\nb",
    "refs/heads/a\0b",
    "refs/heads/a:b",
    "refs/heads/a^{}",
    "refs/heads/a~1",
    "refs/heads/a*",
    "refs/heads/a?",
    "refs/heads/[a]",
    "refs/heads/a\\b",
    "refs/heads/$(id)",
    "refs/heads/`id`",
    "refs/heads/a;b",
    "refs/heads/a'b",
    'refs/heads/a"b',
    "refs/heads/<a>",
    "refs/heads/a|b",
    "refs/heads/a\u202eb",
    "refs/heads/a\u200bb",
    "refs/heads/a\ud800",
    "refs/heads/" + "a" * 300,
    "refs/notes/a",
    "refs/remotes/origin/main",
    "+refs/heads/a",
    "--upload-pack=x",
]


@pytest.mark.parametrize("ref", HOSTILE_REFS)
def test_a_ref_outside_the_grammar_is_refused(ref: str):
    with pytest.raises(InvalidInput) as refusal:
        checked_ref(ref)
    assert refusal.value.code == "source.ref_refused"


@pytest.mark.parametrize(
    "ref",
    [
        "refs/heads/main",
        "refs/tags/v1.0",
        "refs/tags/pkg-a/v1.0+local",
        "refs/heads/dependabot/npm_and_yarn/@types/node-1",
        "refs/heads/fix-#12",
        "refs/heads/größe",
        "refs/tags/版本-1",
        "refs/heads/u\u0308",
    ],
)
def test_ordinary_refs_are_taken(ref: str):
    assert checked_ref(ref) == ref


@settings(max_examples=60)
@given(st.text(alphabet="ab1./-@{}~^:?*[\\ \n\u00e4lock", max_size=12))
def test_whatever_is_taken_as_ref_git_takes_too(name: str):
    ref = f"refs/heads/{name}"
    try:
        checked_ref(ref)
    except InvalidInput:
        return
    assert subprocess.run(["git", "check-ref-format", ref], check=False).returncode == 0


@settings(max_examples=200)
@given(st.text(max_size=60))
def test_any_text_is_a_url_or_a_refusal(text: str):
    for url in (text, f"https://{text}", f"ssh://{text}", f"file://{text}"):
        try:
            taken = checked_url(url, allow_file=True)
        except InvalidInput:
            continue
        assert taken.text.startswith(("https://", "ssh://", "http://", "file:///"))
        assert not taken.host.startswith("-")


@pytest.mark.parametrize(
    "commit", ["", "abc", "A" * 40, "g" * 40, "0" * 40, "0" * 64, "a" * 41, "-" + "a" * 39, "a" * 40 + "\n"]
)
def test_a_commit_is_a_full_id(commit: str):
    with pytest.raises(InvalidInput):
        checked_commit(commit)


def test_both_hash_lengths_are_taken():
    assert checked_commit("a" * 40)
    assert checked_commit("a" * 64)


@pytest.mark.parametrize(
    "address",
    [
        *("10.1.2.3", "192.168.0.9", "127.0.0.1", "100.64.0.1", "::1", "fd00::1"),
        *("::ffff:10.0.0.1", "64:ff9b::10.1.2.3", "2002:a01:203::1"),
    ],
)
def test_a_name_leads_into_a_private_network_only_where_the_operator_says_so(address: str) -> None:
    given = ipaddress.ip_address(address)
    with pytest.raises(InvalidInput) as caught:
        checked_address("git.corp.example", given, ("other.example", "172.16.0.0/12"))
    assert caught.value.code == "source.address_refused"
    assert "sources_private_hosts" in caught.value.hint
    checked_address("Git.Corp.example", given, ("*.corp.example",))


def test_a_network_is_allowed_and_what_stands_in_the_url_itself_was_written_by_an_administrator() -> None:
    private = ipaddress.ip_address("10.1.2.3")
    checked_address("git.corp.example", private, ("10.1.0.0/16",))
    checked_address("10.1.2.3", private, ())
    checked_address("localhost", ipaddress.ip_address("::1"), ())
    checked_address("git.example", ipaddress.ip_address("1.1.1.1"), ())


@pytest.mark.parametrize(
    "address", ["169.254.169.254", "fe80::1", "::ffff:169.254.169.254", "0.0.0.0", "224.0.0.1"]
)
def test_where_no_repository_can_be_is_refused_whatever_is_allowed(address: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        checked_address("git.corp.example", ipaddress.ip_address(address), ("*", "0.0.0.0/0", "::/0"))
    assert caught.value.code == "source.url_refused"
