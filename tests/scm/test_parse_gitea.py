"""Gitea and Forgejo: GitHub's payloads, their own headers and their own way to sign a form."""

from __future__ import annotations

import hashlib
import hmac
from urllib.parse import urlencode

import pytest

from buildfarm.errors import InvalidInput
from buildfarm.scm.kinds import scm_for
from buildfarm.scm.port import EventKind
from buildfarm.scm.reasons import Reason
from buildfarm.scm.rules import why_ignored
from buildfarm.scm.secret import Secret, new_secret

BRANDS = pytest.mark.parametrize("brand", ["Gitea", "Forgejo"])
PUSH = {
    "ref": "refs/heads/main", "before": "1" * 40, "after": "2" * 40,
    "head_commit": {"id": "2" * 40, "message": "Round the rim"}, "pusher": {"login": "mira"},
    "repository": {"full_name": "acme/widget", "clone_url": "https://git.example/acme/widget.git"},
    "sender": {"login": "mira"},
}  # fmt: skip


def headers(brand: str, event: str = "push", **more: str) -> dict[str, str]:
    """What they send: their own headers among those of the servers that they come from."""
    return {
        f"X-{brand}-Event": event, f"X-{brand}-Delivery": "f6266f16-1bf3-46a5-9ea4-602e06ead473",
        "X-GitHub-Event": "issues", "X-GitHub-Delivery": "other", "X-Gogs-Event": "issues",
        "Content-Type": "application/json", **more,
    }  # fmt: skip


@BRANDS
def test_a_push_is_read_by_the_senders_own_headers(brand, as_body):
    scm = scm_for(brand.lower())
    (event,) = scm.parse(headers(brand), as_body(PUSH))

    assert (event.kind, event.ref, event.commit) == (EventKind.PUSH, "refs/heads/main", "2" * 40)
    assert (event.repository, event.actor, event.title) == ("acme/widget", "mira", "Round the rim")
    assert scm.delivery_id(headers(brand)) == "f6266f16-1bf3-46a5-9ea4-602e06ead473"
    with pytest.raises(InvalidInput, match=f"X-{brand}-Event"):
        scm.parse({"X-GitHub-Event": "push"}, as_body(PUSH))


@BRANDS
@pytest.mark.parametrize(
    ("event", "body", "reason"),
    [
        ("delete", {"ref": "topic", "ref_type": "branch"}, Reason.BRANCH_DELETED),
        ("create", {"ref": "v1", "ref_type": "tag", "sha": "2" * 40}, Reason.EVENT_NOT_HANDLED),
        ("release", {"action": "published", "release": {"tag_name": "v1"}}, None),
        ("release", {"action": "updated", "release": {"tag_name": "v1"}}, Reason.EVENT_NOT_HANDLED),
        ("repository", {"action": "created"}, Reason.EVENT_NOT_HANDLED),
        ("pull_request", {"action": "synchronized", "number": 3,
                          "pull_request": {"head": {"sha": "2" * 40}, "base": {"ref": "main"}}},
         None),
        ("pull_request", {"action": "closed", "number": 3,
                          "pull_request": {"head": {"sha": "2" * 40}, "base": {"ref": "main"}}},
         Reason.PULL_REQUEST_CLOSED),
    ],
)  # fmt: skip
def test_other_events_say_what_becomes_of_them(brand, event, body, reason, as_body):
    (found,) = scm_for(brand.lower()).parse(headers(brand, event), as_body(body))

    assert why_ignored(found) is reason


@BRANDS
def test_of_a_form_the_payload_is_signed_and_not_the_body(brand, as_body, at_noon):
    scm, secret = scm_for(brand.lower()), Secret("one", new_secret("hmac"), "hmac")
    sent = as_body(PUSH)
    body = urlencode({"payload": sent.decode()}).encode()
    made = hmac.new(secret.value.encode(), sent, hashlib.sha256).hexdigest()
    form = {f"X-{brand}-Signature": made, "Content-Type": "application/x-www-form-urlencoded"}

    assert scm.verify(headers(brand, **form), body, [secret], at_noon).ok
    assert scm.parse(headers(brand, **form), body) == scm.parse(headers(brand), sent)
    changed = urlencode({"payload": sent.decode() + " "}).encode()
    assert not scm.verify(headers(brand, **form), changed, [secret], at_noon).ok
    twice = body + b"&payload=%7B%7D"
    assert not scm.verify(headers(brand, **form), twice, [secret], at_noon).ok


@pytest.mark.parametrize(("kind", "other"), [("gitea", "Forgejo"), ("forgejo", "Gitea")])
def test_the_signature_of_another_brand_is_none(kind, other, at_noon):
    secret = Secret("one", new_secret("hmac"), "hmac")
    made = hmac.new(secret.value.encode(), b"{}", hashlib.sha256).hexdigest()
    sent = {f"X-{other}-Signature": made, "X-Hub-Signature-256": f"sha256={made}", "X-Gogs-Signature": made}

    assert scm_for(kind).verify(sent, b"{}", [secret], at_noon).reason is Reason.SIGNATURE_MISSING
