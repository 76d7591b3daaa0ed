from __future__ import annotations

import base64

import pytest

from buildfarm.errors import InvalidInput
from buildfarm.scm.reasons import REJECTIONS, REMEDY, SENTENCE, Reason
from buildfarm.scm.secret import Secret, new_secret


@pytest.mark.parametrize("kind", ["hmac", "token", "signing"])
def test_a_new_secret_is_accepted_and_never_twice_the_same(kind):
    made = {new_secret(kind) for _ in range(50)}

    assert len(made) == 50
    for value in made:
        assert len(Secret("s", value, kind).key()) >= 32


def test_a_new_signing_token_has_the_form_gitlab_requires():
    value = new_secret("signing")

    assert value.startswith("whsec_")
    assert len(base64.b64decode(value.removeprefix("whsec_"), validate=True)) == 32


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("hmac", ""),
        ("hmac", "short"),
        ("hmac", "a" * 40),
        ("hmac", "a secret with a newline at its end\n"),
        ("token", "fifteen-letters"),
        ("token", "not-ascii-für-header"),
        ("signing", ""),
        ("signing", "whsec_"),
        ("signing", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
        ("signing", "whsec_bm90IGxvbmcgZW5vdWdo"),
        ("signing", "whsec_!!!!9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
        ("signing", "whsec_" + base64.b64encode(b"x" * 65).decode()),
        ("signing", "whsec_" + base64.b64encode(b"\0" * 32).decode()),
    ],
)
def test_a_weak_or_malformed_secret_cannot_exist(kind, value):
    with pytest.raises(InvalidInput) as refusal:
        Secret("s", value, kind)

    assert refusal.value.code == "source.secret_weak"
    assert not value or value not in str(refusal.value)


def test_a_secret_never_shows_its_value():
    value = new_secret("hmac")

    assert value not in repr(Secret("s", value, "hmac"))


def test_every_reason_has_a_sentence_and_a_remedy():
    assert set(SENTENCE) == set(REMEDY) == set(Reason)
    assert all(text.endswith(".") for words in (SENTENCE, REMEDY) for text in words.values())
    assert Reason.SIGNATURE_WRONG in REJECTIONS
    assert Reason.PING not in REJECTIONS
