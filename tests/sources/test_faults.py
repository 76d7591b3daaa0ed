"""What git says becomes a sentence with a code; secrets stay out of it."""

from __future__ import annotations

import base64
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from buildfarm import errors
from buildfarm.sources import faults


@pytest.mark.parametrize(
    ("complaint", "code"),
    [
        ("fatal: couldn't find remote ref refs/heads/x", "source.ref_unknown"),
        ("fatal: could not read Username: terminal prompts disabled", "source.authentication"),
        ("git@ghe.example: Permission denied (publickey).\nfatal: Could not read", "source.authentication"),
        ("Host key verification failed.\nfatal: Could not read", "source.host_key"),
        ("fatal: unable to access 'x': Could not resolve host: ghe.example", "source.unreachable"),
        ("fatal: unable to access 'x': SSL certificate problem: self-signed", "source.tls"),
        ("ssh: connect to host ghe.example port 22: Connection refused", "source.unreachable"),
        ("remote: ERROR: The project could not be found\nfatal: Could not read", "source.no_repository"),
        (f"error: object {'1' * 40}: hasDotgit: x\nfatal: fsck error in packed object", "source.unsound"),
        ("fatal: write error: No space left on device", "source.disk_full"),
        ("Timeout: the command \"git fetch\" did not complete in 3 secs.", "source.timeout"),
        ("fatal: detected dubious ownership in repository at '/srv/x'", "source.owner"),
        ("remote: no space left on device\nfatal: couldn't find remote ref x", "source.ref_unknown"),
        ("fatal: something new", "source.git_failed"),
    ],
)  # fmt: skip
def test_each_complaint_has_its_code(complaint: str, code: str):
    assert faults.explain(complaint).code == code


def test_trouble_with_the_network_may_be_retried_and_trouble_with_keys_may_not():
    assert isinstance(faults.explain("Connection timed out"), errors.ExternalFailure)
    assert not isinstance(faults.explain("Host key verification failed."), errors.ExternalFailure)


@settings(max_examples=100)
@given(
    user=st.text(alphabet="abc", max_size=6),
    secret=st.text(min_size=8, max_size=30),
    noise=st.text(max_size=20),
)
def test_no_form_of_a_secret_is_repeated(user: str, secret: str, noise: str):
    token = base64.b64encode(f"{user}:{secret}".encode()).decode()
    said = faults.redact(f"x {secret} y {quote(secret, safe='')} z {token}", [secret])
    assert secret not in said
    assert token[-(-(len(user) + 2) * 8 // 6) : -4] not in said
    told = faults.explain(f"remote: {token[:-1]}\u00fc{noise}", secrets=[secret])
    assert token[:-1] not in str(told.facts)


@settings(max_examples=50)
@given(st.text(max_size=900))
def test_any_complaint_becomes_a_printable_error_that_survives_the_pipe(complaint: str):
    error = faults.explain(complaint)
    assert all(char.isprintable() for char in str(error.facts["git"]))
    told = faults.from_wire(faults.to_wire(error))
    assert (type(told), told.code, told.message, told.hint, told.facts) == (
        type(error), error.code, error.message, error.hint, error.facts,
    )  # fmt: skip


@pytest.mark.parametrize(
    "told", [{}, {"kind": "KeyboardInterrupt", "code": 7}, {"facts": [1], "message": None}]
)
def test_a_strange_error_is_still_an_error(told: dict[str, object]):
    assert isinstance(faults.from_wire(told), errors.FarmError)
