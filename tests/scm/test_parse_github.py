from __future__ import annotations

from urllib.parse import urlencode

import pytest

from buildfarm.errors import InvalidInput
from buildfarm.scm.kinds import scm_for
from buildfarm.scm.port import Event, EventKind, PullRequest
from buildfarm.scm.reasons import Reason
from buildfarm.scm.rules import why_ignored
from buildfarm.scm.secret import Secret, new_secret

GITHUB = scm_for("github")
HEAD = "6113728f27ae82c7b1a177c8d03f9e96e0adf246"


def parse(event: str, body: bytes, **headers: str) -> Event:
    sent = {"X-GitHub-Event": event, "Content-Type": "application/json", **headers}
    (found,) = GITHUB.parse(sent, body)
    return found


@pytest.mark.parametrize(
    ("name", "kind", "ref", "commit", "reason"),
    [
        ("push.1", EventKind.TAG, "refs/tags/simple-tag", HEAD, None),
        ("push.2", EventKind.TAG, "refs/tags/simple-tag", None, Reason.TAG_DELETED),
        ("push.3", EventKind.TAG, "refs/tags/simple-tag", None, Reason.TAG_DELETED),
        ("push.4", EventKind.TAG, "refs/tags/simple-tag", None, Reason.TAG_DELETED),
        ("push.5", EventKind.PUSH, "refs/heads/master", HEAD, None),
        ("push.6", EventKind.PUSH, "refs/heads/master", HEAD, None),
        ("push.7", EventKind.TAG, "refs/tags/simple-tag", None, Reason.TAG_DELETED),
        ("ghes.push.1", EventKind.TAG, "refs/tags/simple-tag", HEAD, None),
        ("create.1", EventKind.OTHER, "", None, Reason.EVENT_NOT_HANDLED),
        ("delete.1", EventKind.TAG, "refs/tags/simple-tag", None, Reason.TAG_DELETED),
        ("release.published.1", EventKind.RELEASE, "refs/tags/0.0.1", None, None),
        ("release.published.11", EventKind.RELEASE, "refs/tags/0.0.1", None, None),
        ("release.created.2", EventKind.OTHER, "", None, Reason.EVENT_NOT_HANDLED),
        ("release.edited.7", EventKind.OTHER, "", None, Reason.EVENT_NOT_HANDLED),
        ("release.deleted.5", EventKind.OTHER, "", None, Reason.EVENT_NOT_HANDLED),
        ("ping.1", EventKind.PING, "", None, Reason.PING),
        ("ping.4", EventKind.PING, "", None, Reason.PING),
    ],
)
def test_published_payloads_are_understood(name, kind, ref, commit, reason, payload):
    event = parse(name.removeprefix("ghes.").partition(".")[0], payload(f"github/{name}"))

    assert (event.kind, event.ref, event.commit) == (kind, ref, commit)
    assert event.deleted is (reason is Reason.TAG_DELETED)
    assert why_ignored(event) is reason
    assert event.title
    if kind is not EventKind.PING:
        assert event.repository.count("/") == 1
        assert event.repository_url.endswith(".git")
        assert event.actor


def test_a_form_encoded_delivery_is_signed_over_the_raw_form(payload, github_headers, at_noon):
    secret = Secret("one", new_secret("hmac"), "hmac")
    body = urlencode({"payload": payload("github/push.5").decode()}).encode()
    form = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
    headers = github_headers("push", body, secret, **form)

    assert GITHUB.verify(headers, body, [secret], at_noon).ok
    assert GITHUB.parse(headers, body) == (parse("push", payload("github/push.5")),)


def test_an_annotated_tag_announces_its_commit_not_the_tag_object(as_body):
    body = {"ref": "refs/tags/v1", "after": "a" * 40, "head_commit": {"id": "b" * 40, "message": "x"}}

    assert parse("push", as_body(body)).commit == "b" * 40


@pytest.mark.parametrize(
    ("message", "skip"),
    [
        ("Fix a typo [skip ci]", True),
        ("Fix a typo\n\n[CI SKIP]", True),
        ("Fix [no ci]", True),
        ("Say why [skip ci is bad", False),
        ("skip ci", False),
        ("", False),
    ],
)
def test_a_marker_in_the_head_commit_skips_branches_and_never_tags(message, skip, as_body):
    body = {"ref": "refs/heads/main", "after": "a" * 40, "head_commit": {"id": "a" * 40, "message": message}}
    branch = parse("push", as_body(body))

    assert branch.skip is skip
    assert why_ignored(branch) is (Reason.SKIP_REQUESTED if skip else None)
    assert not parse("push", as_body({**body, "ref": "refs/tags/v1"})).skip


def test_a_release_without_a_tag_is_ignored_with_that_reason(as_body):
    body = {"action": "published", "release": {"tag_name": "", "name": "x"}}

    assert why_ignored(parse("release", as_body(body))) is Reason.RELEASE_WITHOUT_TAG


def test_a_deleted_branch_is_ignored_with_that_reason(as_body):
    by_push = parse("push", as_body({"ref": "refs/heads/x", "after": "0" * 40, "head_commit": None}))
    by_delete = parse("delete", as_body({"ref": "x", "ref_type": "branch"}))

    assert by_push == by_delete
    assert why_ignored(by_push) is Reason.BRANCH_DELETED


def pull_request(action: str, head: dict[str, object] | None) -> dict[str, object]:
    return {
        "action": action, "number": 7, "repository": {"full_name": "acme/widget"},
        "pull_request": {
            "title": "Round the rim", "head": {"sha": HEAD, "repo": head}, "base": {"ref": "main"}
        },
    }  # fmt: skip


@pytest.mark.parametrize(
    ("action", "meant"),
    [("opened", "opened"), ("reopened", "opened"), ("synchronize", "updated"), ("closed", "closed")],
)
def test_a_pull_request_is_noted_with_its_head(action, meant, as_body):
    event = parse("pull_request", as_body(pull_request(action, {"full_name": "Acme/widget"})))

    assert event.pull_request == PullRequest(
        7, meant, "Acme/widget", "refs/heads/main", from_fork=False, title="Round the rim"
    )
    assert (event.kind, event.commit, event.ref) == (EventKind.PULL_REQUEST, HEAD, "refs/pull/7/head")
    assert event.title == f"pull request 7 {meant}: Round the rim"
    assert why_ignored(event) is (Reason.PULL_REQUEST_CLOSED if action == "closed" else None)


@pytest.mark.parametrize("head", [{"full_name": "mallory/widget"}, None])
def test_a_pull_request_of_another_repository_or_of_one_that_is_gone_is_from_a_fork(head, as_body):
    event = parse("pull_request", as_body(pull_request("opened", head)))

    assert event.pull_request is not None
    assert event.pull_request.from_fork


@pytest.mark.parametrize("number", [None, "7", 0, -1, True, 7.0, 1 << 70])
def test_a_pull_request_without_a_number_is_unparsable(number, as_body):
    with pytest.raises(InvalidInput, match="positive number"):
        parse("pull_request", as_body(pull_request("opened", None) | {"number": number}))


def test_a_label_on_a_pull_request_is_another_event(as_body):
    assert parse("pull_request", as_body(pull_request("labeled", None))).kind is EventKind.OTHER


@pytest.mark.parametrize(
    ("action", "changes", "was", "reason"),
    [
        ("renamed", {"repository": {"name": {"from": "old"}}}, "acme/old", Reason.REPOSITORY_RENAMED),
        ("transferred", {"owner": {"from": {"user": {"login": "mira"}}}}, "mira/widget",
         Reason.REPOSITORY_MOVED),
        ("transferred", {"owner": {"from": {"organization": {"login": "tools"}}}}, "tools/widget",
         Reason.REPOSITORY_MOVED),
        ("archived", {}, "acme/widget", Reason.REPOSITORY_ARCHIVED),
    ],
)  # fmt: skip
def test_a_repository_that_changed_is_known_by_the_name_it_had(action, changes, was, reason, as_body):
    about = {
        "full_name": "acme/widget", "name": "widget", "owner": {"login": "acme"},
        "clone_url": "https://github.com/acme/widget.git",
    }  # fmt: skip
    event = parse("repository", as_body({"action": action, "changes": changes, "repository": about}))

    assert (event.kind, event.repository) == (EventKind.REPOSITORY, was)
    assert event.moved_to == (None if action == "archived" else "https://github.com/acme/widget.git")
    assert why_ignored(event) is reason


def test_refs_other_than_branches_and_tags_are_not_handled(as_body):
    event = parse("push", as_body({"ref": "refs/notes/commits", "after": "a" * 40}))

    assert why_ignored(event) is Reason.EVENT_NOT_HANDLED


def test_text_for_people_is_one_clean_line(as_body):
    wild = "  Paint\x00 it\u202egnp.exe\x1b[31m red\r\n\nand more"
    head = {"id": "a" * 40, "message": wild}
    event = parse("push", as_body({"ref": "refs/heads/x", "after": "a" * 40, "head_commit": head}))

    assert event.title == "Paint it gnp.exe [31m red"
    head["message"] = "long " * 100
    long = parse("push", as_body({"ref": "refs/heads/x", "after": "a" * 40, "head_commit": head}))
    assert len(long.title) <= 200


@pytest.mark.parametrize("unsafe", ["javascript:alert(1)", "https://me:pw@ghe.example/a.git", "file:///x", 7])
def test_a_repository_url_that_must_not_become_a_link_is_dropped(unsafe, as_body):
    body = {"ref": "refs/heads/x", "after": "a" * 40, "repository": {"clone_url": unsafe}}

    assert parse("push", as_body(body)).repository_url is None


@pytest.mark.parametrize(
    "ref",
    [
        None, 7, "", "main", "heads/main", "refs/heads/", "refs/heads//a", "refs/heads/a/", "refs/heads/.a",
        "refs/heads/a..b", "refs/heads/a b", "refs/heads/a\nb", "refs/heads/a.lock", "refs/heads/a.lock/b",
        "refs/heads/a.", "refs/heads/a~1", "refs/heads/a^", "refs/heads/a:b", "refs/heads/a?",
        "refs/heads/a*", "refs/heads/a[", "refs/heads/a\\b", "refs/heads/a@{1}", "refs/heads/\ud800",
        "refs/heads/a\u202eb", "refs/heads/" + "x" * 1000,
    ],
)  # fmt: skip
def test_a_ref_that_git_does_not_allow_is_unparsable(ref, as_body):
    with pytest.raises(InvalidInput) as refusal:
        parse("push", as_body({"ref": ref, "after": "a" * 40}))

    assert refusal.value.code == "hook.unparsable"
    assert refusal.value.facts["reason"] is Reason.BODY_UNPARSABLE


@pytest.mark.parametrize("ref", ["refs/heads/a@b", "refs/heads/-x", "refs/tags/v1.0", "refs/heads/ä/✓.x"])
def test_a_ref_that_git_allows_is_taken_as_it_is(ref, as_body):
    assert parse("push", as_body({"ref": ref, "after": "a" * 64})).ref == ref


@pytest.mark.parametrize("after", [7, "", "main", "a" * 39, "A" * 40, "a" * 41, "-" * 40, ["a"]])
def test_a_commit_that_is_no_object_id_is_unparsable(after, as_body):
    with pytest.raises(InvalidInput, match="object id"):
        parse("push", as_body({"ref": "refs/heads/main", "after": after}))


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b'"x"', b"\xff{}", b"[" * 100_000, b'{"a":' * 100_000, b"1" * 5000, b"{}{}"],
)
def test_a_body_that_is_no_json_object_is_unparsable(body):
    with pytest.raises(InvalidInput) as refusal:
        parse("push", body)

    assert refusal.value.code == "hook.unparsable"


@pytest.mark.parametrize(
    "body", [b"", b"payload", b"payload=%7B%7D&payload=%7B%7D", b"other=%7B%7D", b"a=1&" * 9]
)
def test_a_form_without_exactly_one_payload_is_unparsable(body):
    with pytest.raises(InvalidInput, match="form data"):
        parse("push", body, **{"Content-Type": "application/x-www-form-urlencoded"})


def test_another_content_type_is_named_as_the_reason():
    with pytest.raises(InvalidInput) as refusal:
        parse("push", b"{}", **{"Content-Type": "text/plain"})

    assert refusal.value.facts["reason"] is Reason.CONTENT_TYPE


def test_an_event_without_a_name_is_unparsable():
    with pytest.raises(InvalidInput, match="X-GitHub-Event"):
        GITHUB.parse({}, b"{}")
