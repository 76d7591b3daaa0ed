"""Bitbucket Data Center and Cloud; the bodies follow the vendor's "Event payload" and "Event payloads"."""

from __future__ import annotations

from typing import Any

import pytest

from buildfarm.errors import InvalidInput
from buildfarm.scm.kinds import scm_for
from buildfarm.scm.port import Event, EventKind, PullRequest
from buildfarm.scm.reasons import Reason
from buildfarm.scm.rules import why_ignored

SERVER, CLOUD = scm_for("bitbucket-data-center"), scm_for("bitbucket-cloud")
OLD, NEW, ZERO = "1" * 40, "2" * 40, "0" * 40


def repository(project: str = "ACME", slug: str = "widget", **more: Any) -> dict[str, Any]:
    url = f"https://bb.example/scm/{project.lower()}/{slug}.git"
    clone = [
        {"name": "ssh", "href": f"ssh://git@bb.example/{project}/{slug}.git"},
        {"name": "http", "href": url},
    ]
    return {"slug": slug, "project": {"key": project}, "links": {"clone": clone}, **more}


def at_server(key: str, body: bytes) -> tuple[Event, ...]:
    return SERVER.parse({"X-Event-Key": key, "Content-Type": "application/json; charset=utf-8"}, body)


def in_cloud(key: str, body: bytes) -> tuple[Event, ...]:
    return CLOUD.parse({"X-Event-Key": key, "Content-Type": "application/json"}, body)


def change(ref: str, what: str = "UPDATE", old: str = OLD, new: str = NEW) -> dict[str, Any]:
    kind = "TAG" if ref.startswith("refs/tags/") else "BRANCH"
    named = {"id": ref, "displayId": ref.split("/", 2)[2], "type": kind}
    return {"ref": named, "refId": ref, "fromHash": old, "toHash": new, "type": what}


def named(kind: str, name: str, commit: str, message: str = "Round the rim") -> dict[str, Any]:
    return {"type": kind, "name": name, "target": {"hash": commit, "message": message}}


def test_every_ref_of_one_push_is_an_event_of_its_own(as_body):
    changes = [
        change("refs/heads/main"),
        change("refs/tags/v1", "ADD", ZERO),
        change("refs/heads/old", "DELETE", OLD, ZERO),
    ]
    body = {"eventKey": "repo:refs_changed", "actor": {"name": "mira"}, "repository": repository()}
    main, tag, gone = at_server("repo:refs_changed", as_body(body | {"changes": changes}))

    assert (main.kind, main.ref, main.commit, main.before) == (EventKind.PUSH, "refs/heads/main", NEW, OLD)
    assert (tag.kind, tag.ref, tag.commit, tag.before) == (EventKind.TAG, "refs/tags/v1", NEW, None)
    assert (gone.kind, gone.ref, gone.deleted) == (EventKind.PUSH, "refs/heads/old", True)
    assert {one.repository for one in (main, tag, gone)} == {"ACME/widget"}
    assert {one.repository_url for one in (main, tag, gone)} == {"https://bb.example/scm/acme/widget.git"}
    assert main.actor == "mira"


def test_every_branch_and_tag_of_one_push_is_an_event_of_its_own_in_the_cloud(as_body):
    changes = [
        {"new": named("branch", "main", NEW), "old": named("branch", "main", OLD), "forced": True},
        {"new": named("tag", "v1", NEW), "old": None},
        {"new": None, "old": named("branch", "old", OLD)},
        {"new": named("branch", "docs", NEW, "Typo [skip ci]"), "old": None},
        {"new": named("bookmark", "x", NEW), "old": None},
    ]
    html = {"html": {"href": "https://bitbucket.org/acme/widget"}}
    body = {
        "actor": {"nickname": "mira", "display_name": "Mira Holm"},
        "repository": {"full_name": "acme/widget", "links": html}, "push": {"changes": changes},
    }  # fmt: skip
    main, tag, gone, skipped, other = in_cloud("repo:push", as_body(body))

    assert (main.kind, main.ref, main.commit, main.before) == (EventKind.PUSH, "refs/heads/main", NEW, OLD)
    assert (tag.kind, tag.ref, tag.commit, tag.title) == (EventKind.TAG, "refs/tags/v1", NEW, "Round the rim")
    assert (gone.ref, gone.deleted) == ("refs/heads/old", True)
    assert why_ignored(skipped) is Reason.SKIP_REQUESTED
    assert other.kind is EventKind.OTHER
    assert (main.repository, main.actor) == ("acme/widget", "mira")
    assert main.repository_url == "https://bitbucket.org/acme/widget"


def test_the_connection_test_is_a_ping(as_body):
    (event,) = at_server("diagnostics:ping", as_body({"test": True}))

    assert why_ignored(event) is Reason.PING


@pytest.mark.parametrize(
    ("key", "action"),
    [
        ("pr:opened", "opened"),
        ("pr:from_ref_updated", "updated"),
        ("pr:merged", "closed"),
        ("pr:declined", "closed"),
    ],
)
@pytest.mark.parametrize("project", ["ACME", "~MALLORY"])
def test_a_pull_request_is_noted_with_its_head(key, action, project, as_body):
    asked = {
        "id": 9, "title": "Round the rim",
        "fromRef": {"id": "refs/heads/rim", "latestCommit": NEW, "repository": repository(project)},
        "toRef": {"id": "refs/heads/main", "latestCommit": OLD, "repository": repository()},
    }  # fmt: skip
    (event,) = at_server(key, as_body({"actor": {"name": "mira"}, "pullRequest": asked}))

    is_fork = project != "ACME"
    assert event.pull_request == PullRequest(
        9, action, f"{project}/widget", "refs/heads/main", from_fork=is_fork, title="Round the rim"
    )
    assert (event.ref, event.commit, event.repository) == ("refs/pull-requests/9/from", NEW, "ACME/widget")
    assert why_ignored(event) is (Reason.PULL_REQUEST_CLOSED if action == "closed" else None)


@pytest.mark.parametrize(("sent", "commit"), [("d3022fc0ca3d", None), (NEW, NEW)])
def test_an_abbreviated_head_in_the_cloud_names_no_commit(sent, commit, as_body):
    asked = {
        "id": 9, "title": "Round the rim",
        "source": {"commit": {"hash": sent}, "repository": {"full_name": "mallory/widget"}},
        "destination": {"branch": {"name": "main"}},
    }  # fmt: skip
    body = {"repository": {"full_name": "acme/widget"}, "pullrequest": asked}
    (event,) = in_cloud("pullrequest:created", as_body(body))

    assert event.pull_request == PullRequest(
        9, "opened", "mallory/widget", "refs/heads/main", from_fork=True, title="Round the rim"
    )
    assert (event.ref, event.commit) == ("", commit)
    assert why_ignored(event) is Reason.PULL_REQUEST_NO_REF


def test_a_pull_request_of_the_cloud_from_the_repository_itself_is_its_branch(as_body):
    asked = {
        "id": 9, "title": "Round the rim",
        "source": {"commit": {"hash": "d3022fc0ca3d"}, "branch": {"name": "rim"},
                   "repository": {"full_name": "acme/widget"}},
        "destination": {"branch": {"name": "main"}},
    }  # fmt: skip
    body = {"repository": {"full_name": "acme/widget"}, "pullrequest": asked}
    (event,) = in_cloud("pullrequest:updated", as_body(body))

    assert (event.ref, event.commit, why_ignored(event)) == ("refs/heads/rim", None, None)
    assert event.pull_request == PullRequest(
        9, "updated", "acme/widget", "refs/heads/main", from_fork=False, title="Round the rim"
    )


@pytest.mark.parametrize(
    ("old", "new", "reason", "moved_to"),
    [
        (
            repository(),
            repository(slug="gadget"),
            Reason.REPOSITORY_RENAMED,
            "https://bb.example/scm/acme/gadget.git",
        ),
        (
            repository(),
            repository("TOOLS"),
            Reason.REPOSITORY_MOVED,
            "https://bb.example/scm/tools/widget.git",
        ),
        (repository(archived=False), repository(archived=True), Reason.REPOSITORY_ARCHIVED, None),
        (repository(), repository(), Reason.EVENT_NOT_HANDLED, None),
    ],
)
def test_a_modified_repository_says_what_changed(old, new, reason, moved_to, as_body):
    (event,) = at_server("repo:modified", as_body({"old": old, "new": new}))

    assert (event.repository, event.moved_to) == ("ACME/widget", moved_to)
    assert why_ignored(event) is reason


def test_a_renamed_or_moved_repository_of_the_cloud_is_known_by_the_name_it_had(as_body):
    about = {"full_name": "acme/gadget", "links": {"html": {"href": "https://bitbucket.org/acme/gadget"}}}
    renamed = {"repository": about, "changes": {"full_name": {"old": "acme/widget", "new": "acme/gadget"}}}
    moved = {"repository": about, "previous_workspace": {"slug": "tools"}}
    other = {"repository": about, "changes": {"description": {"old": "", "new": "x"}}}

    (first,), (second,) = (
        in_cloud("repo:updated", as_body(renamed)),
        in_cloud("repo:transfer", as_body(moved)),
    )
    assert (first.repository, why_ignored(first)) == ("acme/widget", Reason.REPOSITORY_RENAMED)
    assert (second.repository, why_ignored(second)) == ("tools/gadget", Reason.REPOSITORY_MOVED)
    assert first.moved_to == second.moved_to == "https://bitbucket.org/acme/gadget"
    assert in_cloud("repo:updated", as_body(other))[0].kind is EventKind.OTHER


@pytest.mark.parametrize("body", [{}, {"changes": []}, {"changes": "x"}, {"changes": [7]}, {"changes": [{}]}])
def test_a_push_without_refs_is_unparsable(body, as_body):
    for parse, key, sent in ((at_server, "repo:refs_changed", body), (in_cloud, "repo:push", {"push": body})):
        with pytest.raises(InvalidInput) as refusal:
            parse(key, as_body(sent))
        assert refusal.value.code == "hook.unparsable"


def test_the_ledger_says_which_attempt_of_the_cloud_it_was(at_noon):
    def steps(**sent: str) -> list[str]:
        headers = {name.replace("_", "-"): value for name, value in sent.items()}
        return [step.detail for step in CLOUD.verify(headers, b"{}", [], at_noon).steps]

    assert "number 2 of the sender" in steps(X_Attempt_Number="2")
    assert steps(X_Attempt_Number="2\n") == steps()
