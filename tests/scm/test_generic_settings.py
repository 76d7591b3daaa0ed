"""A generic source that is told how its sender signs, and where in its JSON things are."""

from __future__ import annotations

import hashlib
import hmac
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from buildfarm.errors import FarmError, InvalidInput
from buildfarm.scm.generic_settings import GenericSettings
from buildfarm.scm.kinds import scm_for
from buildfarm.scm.port import Event, EventKind
from buildfarm.scm.reasons import Reason
from buildfarm.scm.rules import why_ignored
from buildfarm.scm.secret import Secret, new_secret

POINTERS = {
    "ref": "/resource/refUpdates/0/name", "commit": "/resource/refUpdates/0/newObjectId",
    "before": "/resource/refUpdates/0/oldObjectId", "deleted": "/resource/gone", "repository": "/a~1b/m~0n",
}  # fmt: skip
TOLD = GenericSettings.model_validate(
    {"signature": {"header": "X-Acme-Signature", "prefix": "sha256="}, "pointers": POINTERS}
)
ACME = scm_for("generic", TOLD)


def body(**changes: object) -> dict[str, object]:
    update = {"name": "refs/heads/main", "newObjectId": "2" * 40, "oldObjectId": "1" * 40}
    return {"resource": {"refUpdates": [update | changes]}, "a/b": {"m~n": "acme/widget"}}


def parse(as_body, sent: object) -> Event:
    (event,) = ACME.parse({}, as_body(sent))
    return event


def test_the_header_of_the_settings_is_checked_and_nothing_else(at_noon, standard_headers):
    secret = Secret("one", new_secret("hmac"), "hmac")
    made = hmac.new(secret.value.encode(), b"{}", hashlib.sha256).hexdigest()

    assert ACME.secret_kinds == ("hmac",)
    assert ACME.verify({"x-acme-signature": f"sha256={made}"}, b"{}", [secret], at_noon).secret_id == "one"
    for wrong in (made, f"sha256={made.upper()}", f"SHA256={made}", f"sha256={made} ", "sha256=", ""):
        assert not ACME.verify({"X-Acme-Signature": wrong}, b"{}", [secret], at_noon).ok
    assert not ACME.verify({"X-Acme-Signature": f"sha256={made}"}, b"{ }", [secret], at_noon).ok
    signing = Secret("two", new_secret("signing"), "signing")
    by_standard = ACME.verify(standard_headers(b"{}", signing, at_noon), b"{}", [secret, signing], at_noon)
    assert by_standard.reason is Reason.SIGNATURE_MISSING


def test_without_settings_standard_webhooks_stay_the_way(at_noon):
    secret = Secret("one", new_secret("hmac"), "hmac")
    made = hmac.new(secret.value.encode(), b"{}", hashlib.sha256).hexdigest()
    for told in (None, GenericSettings(), GenericSettings.model_validate({"pointers": POINTERS})):
        scm = scm_for("generic", told)
        assert scm.secret_kinds == ("signing",)
        assert not scm.verify({"X-Acme-Signature": f"sha256={made}"}, b"{}", [secret], at_noon).ok


def test_the_pointers_lead_to_ref_commit_and_repository(as_body):
    event = parse(as_body, body())

    assert event == Event(
        EventKind.PUSH, ref="refs/heads/main", commit="2" * 40, before="1" * 40, repository="acme/widget",
        title="push to refs/heads/main",
    )  # fmt: skip
    assert parse(as_body, body(name="refs/tags/v1")).kind is EventKind.TAG


def test_a_ref_is_gone_where_its_commit_is_or_the_payload_says_so(as_body):
    for sent in (body(newObjectId="0" * 40), body(newObjectId=None), body()):
        if sent["resource"]["refUpdates"][0]["newObjectId"] == "2" * 40:
            sent["resource"]["gone"] = True
        assert why_ignored(parse(as_body, sent)) is Reason.BRANCH_DELETED


def test_a_body_with_nothing_at_the_pointer_of_the_ref_is_another_event(as_body):
    for sent in ({}, {"resource": []}, {"resource": {"refUpdates": []}}, {"resource": "x"}):
        assert why_ignored(parse(as_body, sent)) is Reason.EVENT_NOT_HANDLED


@pytest.mark.parametrize(
    "change", [{"name": "main"}, {"name": 7}, {"newObjectId": "abc"}, {"oldObjectId": [1]}]
)
def test_what_is_no_ref_or_commit_is_unparsable(change, as_body):
    with pytest.raises(InvalidInput) as refusal:
        parse(as_body, body(**change))
    assert refusal.value.code == "hook.unparsable"


@pytest.mark.parametrize(
    "given",
    [
        {"signature": {"header": ""}}, {"signature": {"header": "X Acme"}},
        {"signature": {"header": "X-A\r\nB"}},
        {"signature": {"header": "Authorization"}}, {"signature": {"header": "content-type"}},
        {"signature": {"header": "X-A", "prefix": "a b"}}, {"signature": {"header": "X-A", "prefix": "\n"}},
        {"signature": {}}, {"pointers": {"ref": "/ref"}}, {"pointers": {"ref": "ref", "commit": "/c"}},
        {"pointers": {"ref": "/a~2", "commit": "/c"}}, {"pointers": {"ref": "", "commit": "/c"}},
        {"pointers": {"ref": "/r", "commit": "/c", "branch": "/b"}}, {"unsigned": True}, [], "x",
    ],
)  # fmt: skip
def test_settings_that_cannot_work_are_refused(given):
    with pytest.raises(ValidationError):
        GenericSettings.model_validate(given)


def test_no_other_kind_takes_settings():
    with pytest.raises(InvalidInput) as refusal:
        scm_for("github", TOLD)
    assert refusal.value.code == "source.generic_settings"


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=5)
    | st.sampled_from(["refs/heads/x", "a" * 40]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["", "0", "a", "-"]), inner),
    max_leaves=10,
)
pointers = st.lists(st.sampled_from(["", "0", "1", "a", "-", "~0", "~1", "ä"]), min_size=1, max_size=4).map(
    lambda parts: "/" + "/".join(parts)
)


@settings(max_examples=150)
@given(
    sent=st.dictionaries(st.sampled_from(["", "0", "a", "-"]), json_values),
    told=st.fixed_dictionaries(
        {"ref": pointers, "commit": pointers},
        optional={"deleted": pointers, "repository": pointers, "before": pointers},
    ),
)
def test_any_pointer_into_any_body_leads_to_an_event_or_a_farm_error(sent, told):
    scm = scm_for("generic", GenericSettings.model_validate({"pointers": told}))
    try:
        (event,) = scm.parse({}, json.dumps(sent).encode())
    except FarmError:
        return
    assert isinstance(event, Event)
