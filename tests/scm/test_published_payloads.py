"""Every payload of `@octokit/webhooks-examples` and its Enterprise Server sets, signed and sent.

`.ci/prepare test-all` fetches the package into `.cache/webhooks`.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from buildfarm.farm.model import Build
from buildfarm.scm.kinds import scm_for
from buildfarm.scm.port import EventKind
from buildfarm.scm.rules import why_ignored
from tests.farm.senders import Sender, found, sender_of

PACKAGE = Path(__file__).parents[2] / ".cache" / "webhooks" / "octokit-webhooks-examples-7.6.1.tgz"

pytestmark = pytest.mark.exhaustive


@pytest.fixture(scope="module")
def published() -> list[tuple[str, dict[str, Any]]]:
    """The name of each event, and a payload of it."""
    if not PACKAGE.exists():
        pytest.skip("the published payloads were not fetched: .ci/prepare test-all")
    return list(_published())


def _published() -> Iterator[tuple[str, dict[str, Any]]]:
    with tarfile.open(PACKAGE) as archive:
        for member in archive.getmembers():
            if member.name.endswith("/index.json"):
                file = archive.extractfile(member)
                assert file is not None
                for definition in json.load(file):
                    for example in definition["examples"]:
                        yield definition["name"], example


def test_every_published_payload_parses_and_says_what_becomes_of_it(published):
    github = scm_for("github")
    assert len(published) > 329
    for name, example in published:
        headers = {"X-GitHub-Event": name, "Content-Type": "application/json"}
        (event,) = github.parse(headers, json.dumps(example).encode())
        assert event.title
        assert name in ("push", "release", "pull_request") or why_ignored(event), name
        if why_ignored(event) is None:
            assert event.ref.startswith("refs/")
            assert event.kind is EventKind.RELEASE or event.commit, name
        if name == "pull_request" and example["action"] in ("opened", "reopened", "synchronize", "closed"):
            assert event.kind is EventKind.PULL_REQUEST
            assert event.commit == example["pull_request"]["head"]["sha"]


#: What may become of a pull request that is not closed, in whatever order they come; some examples are equal.
NOTED = {"accepted", "already_built", "pull_request_of_fork", "pull_request_closed", "pull_request_repeated"}
#: What may become of an event, `accepted` among the reasons; of any other `event_not_handled`.
VERDICTS = {
    ("ping", None): {"ping"},
    ("push", None): {"accepted", "already_built", "tag_deleted", "ref_not_followed"},
    ("delete", None): {"tag_deleted", "branch_deleted"},
    ("release", "published"): {"accepted", "already_built"},
    **{("pull_request", action): NOTED for action in ("opened", "reopened", "synchronize")},
    ("pull_request", "closed"): {"pull_request_closed", "pull_request_repeated"},
    ("issue_comment", "created"): {"comment_no_command"},
    # They are about the name before, and a source here has the one after; in an example both are the same.
    ("repository", "renamed"): {"other_repository", "repository_renamed"},
    ("repository", "transferred"): {"other_repository", "repository_moved"},
    ("repository", "archived"): {"repository_archived"},
}


def test_every_published_payload_is_taken_when_it_is_signed_and_gets_the_right_verdict(published, house):
    senders: dict[str, Sender] = {}
    for number, (name, example) in enumerate(published):
        repository = (example.get("repository") or {}).get("full_name", "acme/none")
        if repository not in senders:
            url = f"https://github.example/{repository}.git"
            senders[repository] = sender_of(house, "github", f"source-{len(senders)}", url)
        sender = senders[repository]
        body = json.dumps(example).encode()
        headers = sender.headers(body, number, event=name)
        answer = house.app.test_client().post(f"/hooks/{sender.name}", data=body, headers=headers)
        assert answer.status_code in (200, 202), (name, answer.text)
        verdict = answer.json["reason"] or answer.json["state"]
        action = example.get("action")
        allowed = VERDICTS.get((name, action)) or VERDICTS.get((name, None), {"event_not_handled"})
        assert verdict in allowed, (name, action, answer.json)
    refs = {build.ref for build in found(house, Build) if build.pull_request_id is None}
    assert refs == {"refs/tags/simple-tag", "refs/tags/0.0.1"}
