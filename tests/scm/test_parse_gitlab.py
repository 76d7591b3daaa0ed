from __future__ import annotations

import json

import pytest

from buildfarm.errors import InvalidInput
from buildfarm.scm.kinds import scm_for
from buildfarm.scm.port import Event, EventKind, PullRequest
from buildfarm.scm.reasons import Reason
from buildfarm.scm.rules import why_ignored

GITLAB = scm_for("gitlab")


def parse(body: bytes) -> Event:
    (event,) = GITLAB.parse({"X-Gitlab-Event": "Push Hook", "Content-Type": "application/json"}, body)
    return event


@pytest.mark.parametrize(
    ("name", "kind", "ref", "title", "reason"),
    [
        ("push", EventKind.PUSH, "refs/heads/main", "Round the rim", None),
        ("push.25-commits", EventKind.PUSH, "refs/heads/main", "Turn spoke 25", None),
        ("push.skip-ci", EventKind.PUSH, "refs/heads/main", "Fix a typo", Reason.SKIP_REQUESTED),
        ("push.skip-option", EventKind.PUSH, "refs/heads/main", "Fix a typo", Reason.SKIP_REQUESTED),
        ("tag_push", EventKind.TAG, "refs/tags/v1.2.0", "Round the rim", None),
        ("release.create", EventKind.RELEASE, "refs/tags/v1.2.0", "Widget 1.2", None),
        ("system.test-push", EventKind.PUSH, "refs/heads/main", "Round the rim", None),
    ],
)
def test_what_can_be_built_names_its_ref_and_checkout_commit(name, kind, ref, title, reason, payload):
    body = payload(f"gitlab/{name}")
    sent = json.loads(body)
    event = parse(body)

    assert (event.kind, event.ref, event.title) == (kind, ref, title)
    assert event.commit == (sent.get("checkout_sha") or sent["commit"]["id"])
    assert event.repository == sent.get("project", {}).get("path_with_namespace", "")
    assert not event.deleted
    assert why_ignored(event) is reason


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("push.branch-deleted", Reason.BRANCH_DELETED),
        ("tag_push.deleted", Reason.TAG_DELETED),
        ("release.update", Reason.EVENT_NOT_HANDLED),
        ("system.repository_update", Reason.EVENT_NOT_HANDLED),
    ],
)
def test_what_cannot_be_built_says_why(name, reason, payload):
    event = parse(payload(f"gitlab/{name}"))

    assert why_ignored(event) is reason
    assert event.commit is None
    assert event.title
    assert event.actor in ("mholm", "Mira Holm", None)


def test_the_repository_is_the_projects_full_path_and_its_https_url(payload):
    event = parse(payload("gitlab/push"))

    assert event.repository == "acme/tools/widget"
    assert event.repository_url == "https://gitlab.example/acme/tools/widget.git"
    assert event.actor == "mholm"


@pytest.mark.parametrize(
    ("action", "meant"),
    [("open", "opened"), ("reopen", "opened"), ("update", "updated"), ("merge", "closed")],
)
def test_a_merge_request_is_noted_with_its_head(action, meant, payload):
    body = json.loads(payload("gitlab/merge_request"))
    body["object_attributes"] |= {
        "action": action, "title": "Round the rim", "oldrev": "1" * 40, "source_project_id": 7,
        "target_project_id": 7, "source": {"path_with_namespace": "acme/tools/widget"},
    }  # fmt: skip
    event = parse(json.dumps(body).encode())

    assert event.pull_request == PullRequest(
        3, meant, "acme/tools/widget", "refs/heads/main", from_fork=False, title="Round the rim"
    )
    assert (event.kind, event.commit) == (EventKind.PULL_REQUEST, "68ee74f7d6afe0164fe0f1197aa9177c946d8834")
    assert event.ref == "refs/merge-requests/3/head"
    assert why_ignored(event) is (Reason.PULL_REQUEST_CLOSED if action == "merge" else None)
    body["object_attributes"]["source_project_id"] = 8
    assert parse(json.dumps(body).encode()).pull_request.from_fork


def test_a_merge_request_that_got_no_commits_is_another_event(payload):
    body = json.loads(payload("gitlab/merge_request"))
    body["object_attributes"] |= {"action": "update"}

    assert parse(json.dumps(body).encode()).kind is EventKind.OTHER


@pytest.mark.parametrize(
    ("name", "reason"),
    [("project_rename", Reason.REPOSITORY_RENAMED), ("project_transfer", Reason.REPOSITORY_MOVED)],
)
def test_a_system_hook_tells_where_a_project_went(name, reason, as_body):
    body = {"event_name": name, "path_with_namespace": "acme/new", "old_path_with_namespace": "acme/old"}
    event = parse(as_body(body))

    assert (event.repository, event.moved_to) == ("acme/old", "acme/new")
    assert why_ignored(event) is reason


def test_older_system_hooks_name_the_event_in_another_member(payload):
    body = json.loads(payload("gitlab/push"))
    expected = parse(json.dumps(body).encode())
    del body["object_kind"]

    assert parse(json.dumps(body).encode()) == expected


def test_skipping_never_applies_to_tags(payload):
    body = json.loads(payload("gitlab/push.skip-ci"))
    body |= {"object_kind": "tag_push", "ref": "refs/tags/v3"}

    assert not parse(json.dumps(body).encode()).skip


def test_form_encoding_is_not_gitlabs():
    with pytest.raises(InvalidInput) as refusal:
        GITLAB.parse({"content-type": "application/x-www-form-urlencoded"}, b"payload=%7B%7D")

    assert refusal.value.facts["reason"] is Reason.CONTENT_TYPE
