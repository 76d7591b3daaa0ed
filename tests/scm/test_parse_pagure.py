"""Pagure: payloads as Debian's pagure 5.14.1 sent them over HTTP, byte for byte."""

from __future__ import annotations

import pytest

from buildfarm.errors import InvalidInput
from buildfarm.scm.kinds import kind_of, scm_for
from buildfarm.scm.port import EventKind
from buildfarm.scm.reasons import Reason
from buildfarm.scm.secret import Secret

FIRST, TAG, NEXT = (
    "1cac556a7257c43a9241dd005762204a7c1b7cca",
    "651e54e842c6e73a418d40feaec6765233ef6a52",
    "1e6a4deb944f15347541d6181df5807f8c44a2f4",
)
#: What that Pagure made for its project, and its signature of `git.receive`.
SECRET = Secret("one", "DBH2RGOQV1M1DT6N84FWSSB2K3NYAW9CKJ0454I9", "hmac")
SIGNATURE = "7cedbd791b23b3cee04441c504ddd6917885cfdc7fb294700182b690c9d0f9b6"


@pytest.mark.parametrize(
    ("topic", "kind", "ref", "commit", "before"),
    [
        ("git.branch.creation", EventKind.PUSH, "refs/heads/main", FIRST, None),
        ("git.receive", EventKind.PUSH, "refs/heads/main", NEXT, FIRST),
        ("git.tag.creation", EventKind.TAG, "refs/tags/v1.0", TAG, None),
        ("git.branch.deletion", EventKind.PUSH, "refs/heads/topic/x", None, None),
        ("git.tag.deletion", EventKind.TAG, "refs/tags/v1.0", None, None),
    ],
)
def test_what_a_real_pagure_sent_is_read(topic, kind, ref, commit, before, payload):
    (event,) = scm_for("pagure").parse({"Content-Type": "application/json"}, payload(f"pagure/{topic}"))

    assert (event.kind, event.ref, event.commit, event.before) == (kind, ref, commit, before)
    assert event.deleted == topic.endswith("deletion")
    assert (event.repository, event.actor) == ("widget", "ada")
    assert event.repository_url == "http://127.0.0.1:5300/widget"


def test_what_a_real_pagure_signed_verifies_and_a_changed_byte_does_not(payload, at_noon):
    scm, body = scm_for("pagure"), payload("pagure/git.receive")
    headers = {"X-Pagure-Signature-256": SIGNATURE}

    assert scm.verify(headers, body, [SECRET], at_noon).ok
    assert not scm.verify(headers, body.replace(b'"main"', b'"mean"'), [SECRET], at_noon).ok


def test_the_sha1_signature_alone_is_not_enough(payload, at_noon):
    found = scm_for("pagure").verify(
        {"X-Pagure-Signature": "08e457f3a1786defcf1d508fa023e7f8bebcb14c"},
        payload("pagure/git.receive"),
        [SECRET],
        at_noon,
    )

    assert (found.ok, found.reason) == (False, Reason.SIGNATURE_MISSING)
    assert "SHA-1" in found.steps[-1].detail


def test_the_first_push_to_a_branch_has_no_commit_before(as_body):
    said = {"branch": "main", "end_commit": FIRST, "old_commit": "^" + "0" * 40}
    (event,) = scm_for("pagure").parse({}, as_body({"topic": "git.receive", "msg": said}))

    assert (event.commit, event.before) == (FIRST, None)


def test_a_tag_that_was_moved_comes_under_its_full_name(as_body):
    said = {"branch": "refs/tags/v1.0", "end_commit": FIRST, "old_commit": NEXT}
    (event,) = scm_for("pagure").parse({}, as_body({"topic": "git.receive", "msg": said}))

    assert (event.kind, event.ref, event.commit) == (EventKind.TAG, "refs/tags/v1.0", FIRST)


def test_another_topic_is_an_event_of_its_name(as_body):
    (event,) = scm_for("pagure").parse({}, as_body({"topic": "pull-request.new", "msg": {"agent": "ada"}}))

    assert (event.kind, event.title, event.actor) == (EventKind.OTHER, "pull-request.new", "ada")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"topic": "git.receive"},
        {"topic": "git.receive", "msg": {"branch": 7, "end_commit": FIRST}},
        {"topic": "git.tag.creation", "msg": {"tag": "v1", "rev": "HEAD"}},
        {"topic": "git.branch.creation", "msg": {"branch": "a..b", "rev": FIRST}},
    ],
)
def test_a_payload_that_lacks_what_it_should_have_is_refused(body, as_body):
    with pytest.raises(InvalidInput) as refusal:
        scm_for("pagure").parse({}, as_body(body))

    assert refusal.value.code == "hook.unparsable"


def test_the_host_of_the_url_suggests_it():
    assert kind_of("https://pagure.io/acme/widget.git") == "pagure"
