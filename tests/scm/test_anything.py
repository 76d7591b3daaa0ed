"""Whatever a stranger sends: never anything but a `FarmError`, and never a verified delivery."""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from buildfarm.errors import FarmError
from buildfarm.scm import standard
from buildfarm.scm.kinds import KINDS, scm_for
from buildfarm.scm.mac import hmacs
from buildfarm.scm.port import Event
from buildfarm.scm.secret import Secret, new_secret

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
SECRETS = {kind: Secret(kind, new_secret(kind), kind) for kind in ("hmac", "token", "signing")}
NAMES = [
    "Content-Type", "X-GitHub-Event", "X-GitHub-Delivery", "X-Hub-Signature-256", "X-Hub-Signature",
    "X-Gitlab-Token", "X-Gitlab-Event", "Idempotency-Key", "webhook-id", "webhook-timestamp",
    "WEBHOOK-SIGNATURE",
]  # fmt: skip
EVENT_HEADERS = ["X-GitHub-Event", "X-Gitea-Event", "X-Forgejo-Event", "X-Event-Key"]
EVENTS = [
    "push", "delete", "release", "ping", "create", "pull_request", "repository", "repo:refs_changed",
    "repo:modified", "pr:opened", "diagnostics:ping", "repo:push", "repo:updated", "repo:transfer",
    "pullrequest:created", "issue_comment", "pr:comment:added", "pullrequest:comment_created",
]  # fmt: skip
KEYS = [
    "ref", "after", "before", "type", "object_kind", "event_name", "action", "deleted", "head_commit", "id",
    "message", "repository", "full_name", "clone_url", "project", "path_with_namespace", "commits",
    "checkout_sha", "release", "tag_name", "tag", "ref_type", "sender", "login", "push_options", "ci",
    "skip", "title", "commit", "number", "pull_request", "head", "base", "repo", "changes", "from", "owner",
    "object_attributes", "iid", "last_commit", "source", "target_branch", "old_path_with_namespace",
    "toHash", "fromHash", "old", "new", "slug", "key", "links", "clone", "href", "name", "pullRequest",
    "fromRef", "toRef", "latestCommit", "topic", "msg", "branch", "rev", "end_commit", "old_commit",
    "target", "hash", "pullrequest", "destination", "previous_workspace",
    "comment", "body", "text", "content", "raw", "user", "uuid", "issue", "is_pull", "note", "noteable_type",
    "author_id", "author", "merge_request",
]  # fmt: skip
WORDS = [
    "refs/heads/main", "refs/tags/v1", "push", "tag_push", "release", "create", "published", "branch",
    "tag", "a" * 40, "0" * 40, "DELETE", "opened", "renamed", "transferred", "archived", "merge_request",
    "open", "update", "project_rename", "git.receive", "git.tag.creation", "git.branch.deletion",
    "https://git.example/acme/widget.git", "/buildfarm build", "note", "MergeRequest", "created",
]  # fmt: skip

any_text = st.text(st.characters(exclude_categories=()), max_size=40)
header_values = any_text | st.sampled_from(
    [*EVENTS, "application/json", "application/x-www-form-urlencoded", "sha256=", "v1,", "1780315200"]
)
headers = st.dictionaries(st.sampled_from(NAMES) | any_text, header_values, max_size=8)
keys = st.sampled_from(KEYS)
leaves = st.none() | st.booleans() | st.integers() | st.floats() | any_text | st.sampled_from(WORDS)
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=6),
    max_leaves=25,
)
bodies = (
    st.binary(max_size=200)
    | values.map(lambda value: json.dumps(value).encode())
    | st.dictionaries(keys, values, max_size=8).map(lambda value: json.dumps(value).encode())
)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=80)
@given(sent=headers, event=st.sampled_from(EVENTS), body=bodies)
def test_anything_parses_to_an_event_or_a_farm_error(kind, sent, event, body):
    scm = scm_for(kind)
    for given_headers in (sent, dict.fromkeys(EVENT_HEADERS, event)):
        with contextlib.suppress(FarmError):
            events = scm.parse(given_headers, body)
            assert events
            for read in events:
                assert isinstance(read, Event)
                stored = (
                    read.ref, read.repository, read.title, read.actor or "", read.repository_url or "",
                    read.moved_to or "",
                )  # fmt: skip
                for text in stored:
                    text.encode()
                    assert text.isprintable()
                    assert "\n" not in text


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=50)
@given(sent=headers, body=bodies)
def test_anything_unsigned_never_verifies_and_never_raises(kind, sent, body):
    scm = scm_for(kind)
    for secrets in (list(SECRETS.values()), []):
        result = scm.verify(sent, body, secrets, NOW)
        assert not result.ok
        assert result.reason is not None
        assert result.secret_id is None


SIGNED_BY = {
    "github": ("X-Hub-Signature-256", "sha256="),
    "gitea": ("X-Gitea-Signature", ""),
    "forgejo": ("X-Forgejo-Signature", ""),
    "bitbucket-data-center": ("X-Hub-Signature", "sha256="),
    "bitbucket-cloud": ("X-Hub-Signature", "sha256="),
    "pagure": ("X-Pagure-Signature-256", ""),
}


def signed(kind: str, body: bytes) -> dict[str, str]:
    if kind in SIGNED_BY:
        header, prefix = SIGNED_BY[kind]
        (digest,) = hmacs([SECRETS["hmac"].key()], (body,))
        return {header: f"{prefix}{digest.hex()}"}
    seconds = int(NOW.timestamp())
    return {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(seconds),
        "webhook-signature": standard.sign(SECRETS["signing"], "msg_1", seconds, body),
    }


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=80)
@given(data=st.data(), body=st.binary(min_size=1, max_size=60))
def test_a_delivery_changed_in_any_signed_part_never_verifies(kind, data, body):
    scm, secrets, sent = scm_for(kind), list(SECRETS.values()), signed(kind, body)
    assert scm.verify(sent, body, secrets, NOW).ok

    part = data.draw(st.sampled_from(["body", *sent]))
    original = body if part == "body" else sent[part].encode()
    place = data.draw(st.integers(0, len(original) - 1))
    change = data.draw(st.sampled_from(["flip", "drop", "insert"]))
    byte = bytes([original[place] ^ data.draw(st.integers(1, 127))])
    changed = {
        "flip": original[:place] + byte + original[place + 1 :],
        "drop": original[:place] + original[place + 1 :],
        "insert": original[:place] + byte + original[place:],
    }[change]
    if part == "body":
        body = changed
    else:
        sent[part] = changed.decode("latin-1")
        if part == "webhook-signature" and sent[part].split()[:1] == signed(kind, body)[part].split():
            return  # white space, or more after a space, around a signature that is still whole
    assert not scm.verify(sent, body, secrets, NOW).ok


def test_a_signature_has_one_spelling():
    """The last letter of an encoded MAC has four bits that mean nothing."""
    sent = signed("generic", b"{}")
    head, last = sent["webhook-signature"][:-2], sent["webhook-signature"][-2]
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    other = letters[letters.index(last) ^ 1]
    sent["webhook-signature"] = f"{head}{other}="
    assert not scm_for("generic").verify(sent, b"{}", list(SECRETS.values()), NOW).ok
