from __future__ import annotations

import json

import pytest

from buildfarm.errors import InvalidInput
from buildfarm.scm.kinds import scm_for
from buildfarm.scm.port import Event, EventKind
from buildfarm.scm.reasons import Reason
from buildfarm.scm.rules import why_ignored

GITLAB = scm_for("gitlab")


def parse(body: bytes) -> Event:
    return GITLAB.parse({"X-Gitlab-Event": "Push Hook", "Content-Type": "application/json"}, body)


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
        ("merge_request", Reason.EVENT_NOT_HANDLED),
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
