"""Authenticity: published vectors, an independent implementation, and whatever a stranger may send."""

from __future__ import annotations

import base64
import hmac
import json
import time
from datetime import UTC, datetime, timedelta

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from buildfarm.scm import connect, mac, standard
from buildfarm.scm.connect import HookSecrets
from buildfarm.scm.kinds import KINDS, scm_for
from buildfarm.scm.reasons import Reason
from buildfarm.scm.secret import Secret, new_secret
from buildfarm.sources.model import Source
from tests.farm.senders import Sender

GITHUB, GITLAB, GENERIC = scm_for("github"), scm_for("gitlab"), scm_for("generic")


def moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


# --- published vectors -------------------------------------------------------------------------------


def test_githubs_documented_example_verifies(at_noon):
    secret = Secret("one", "It's a Secret to Everybody", "hmac")
    headers = {
        "X-Hub-Signature-256": "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    }

    assert GITHUB.verify(headers, b"Hello, World!", [secret], at_noon).ok


@pytest.mark.parametrize(
    ("kind", "header"), [("gitea", "X-Gitea-Signature"), ("forgejo", "X-Forgejo-Signature")]
)
def test_the_hmac_example_of_rfc_4231_verifies(kind, header):
    # Case 2. Its key is shorter than any secret the farm takes, so the check is asked below that door.
    secret = Secret("one", "x" * 15 + "y", "hmac")
    object.__setattr__(secret, "value", "Jefe")
    made = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"

    assert scm_for(kind).verify({header: made}, b"what do ya want for nothing?", [secret], moment(0)).ok


@pytest.mark.parametrize("kind", ["bitbucket-data-center", "bitbucket-cloud"])
def test_bitbuckets_documented_example_verifies(kind):
    # The secret, body and digest of the vendor's page on securing webhooks.
    secret = Secret("one", "It's a Secret to Everybody", "hmac")
    headers = {"X-Hub-Signature": "sha256=a4771c39fbe90f317c7824e83ddef3caae9cb3d976c214ace1f2937e133263c9"}

    assert scm_for(kind).verify(headers, b"Hello World!", [secret], moment(0)).ok


def test_the_standard_webhooks_example_verifies():
    secret = Secret("one", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "signing")
    headers = {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }

    result = GENERIC.verify(headers, b'{"test": 2432232314}', [secret], moment(1614265330))

    assert result.ok
    assert result.delivery_id == "msg_p5jXN8AQM9LWM0D4loKWxJek"


def test_gitlabs_signing_token_verifies():
    secret = Secret("one", "whsec_dGVzdHRlc3R0ZXN0dGVzdHRlc3R0ZXN0dGVzdHRlc3Q=", "signing")
    headers = {
        "Webhook-Id": "908a6d9e-45fd-46c8-97e6-c4f350f219dd",
        "Webhook-Timestamp": "1795485600",
        "Webhook-Signature": "v1,DJIoEBv8gmTkCo86wvdKYHa/V6uBKXHTeykLryh8d1w=",
    }

    assert GITLAB.verify(headers, b'{"object_kind":"push"}', [secret], moment(1795485600)).ok


# --- an independent implementation -------------------------------------------------------------------


def test_what_we_sign_the_standard_library_accepts_and_the_other_way_round():
    secret = Secret("one", new_secret("signing"), "signing")
    other = Webhook(secret.value)
    now = datetime.now(UTC).replace(microsecond=0)
    body = '{"type": "push", "title": "Räder"}'
    names = ("webhook-id", "webhook-timestamp", "webhook-signature")
    seconds = str(int(now.timestamp()))

    ours = standard.sign(secret, "msg_2", int(now.timestamp()), body.encode())
    theirs = other.sign("msg_2", now, body)

    assert other.verify(body, dict(zip(names, ("msg_2", seconds, ours), strict=True)))
    assert GENERIC.verify(
        dict(zip(names, ("msg_2", seconds, theirs), strict=True)), body.encode(), [secret], now
    ).ok
    with pytest.raises(WebhookVerificationError):
        other.verify(body + " ", dict(zip(names, ("msg_2", seconds, ours), strict=True)))


# --- rotation ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("used", [0, 1])
def test_either_of_two_live_secrets_verifies_and_is_named(used, at_noon, github_headers, standard_headers):
    keys = [Secret(f"key{number}", new_secret("hmac"), "hmac") for number in range(2)]
    signing = [Secret(f"sig{number}", new_secret("signing"), "signing") for number in range(2)]
    tokens = [Secret(f"tok{number}", new_secret("token"), "token") for number in range(2)]

    by_key = GITHUB.verify(github_headers("push", b"{}", keys[used]), b"{}", keys, at_noon)
    by_signature = GENERIC.verify(standard_headers(b"{}", signing[used], at_noon), b"{}", signing, at_noon)
    by_token = GITLAB.verify({"X-Gitlab-Token": tokens[used].value}, b"{}", tokens, at_noon)

    assert (by_key.secret_id, by_signature.secret_id, by_token.secret_id) == (
        f"key{used}",
        f"sig{used}",
        f"tok{used}",
    )
    assert by_key.ok
    assert by_signature.ok
    assert by_token.ok


def test_one_of_several_space_separated_signatures_is_enough(at_noon, standard_headers):
    secret, stranger = (Secret(name, new_secret("signing"), "signing") for name in ("ours", "theirs"))
    headers = standard_headers(b"{}", secret, at_noon)
    wrong = standard_headers(b"{}", stranger, at_noon)["webhook-signature"]
    headers["webhook-signature"] = f"v1a,bm90IG91cnM= {wrong} {headers['webhook-signature']}"

    assert GENERIC.verify(headers, b"{}", [secret], at_noon).secret_id == "ours"


def test_gitlab_takes_the_classic_token_alone_until_the_hook_is_seen_to_sign(house):
    body = b'{"object_kind": "x"}'
    with house.database.begin() as session:
        source, made = connect.add_source(
            session, "widget", "https://gitlab.example/acme/widget", scm="gitlab", branches=["main"],
            tier="dev", allow_file=False, actor="test",
        )  # fmt: skip
    token = {"X-Gitlab-Token": made.secret, "Content-Type": "application/json"}

    def send(number, **headers):
        sent = headers | token | {"X-Gitlab-Event-UUID": str(number)}
        return house.app.test_client().post("/hooks/widget", data=body, headers=sent)

    def signed(number, value):
        sent, seconds = f"msg_{number}", int(time.time())
        made = standard.sign(Secret("s", value, "signing"), sent, seconds, body)
        return {"webhook-id": sent, "webhook-timestamp": str(seconds), "webhook-signature": made}

    assert send(1).status_code == 200
    assert send(2, **signed(2, made.signing_token)).status_code == 200
    assert send(3).status_code == 401
    with house.database.begin() as session:
        fresh = connect.rotate_secrets(session, session.get_one(Source, source.id), actor="test")
    token["X-Gitlab-Token"] = fresh.secret
    assert send(4).status_code == 401, "the hook still signs with the token of before"
    assert send(5, **signed(5, made.signing_token)).status_code == 200
    assert send(6, **signed(6, fresh.signing_token)).status_code == 200
    for _ in range(2):
        with house.database.begin() as session:
            fresh = connect.rotate_secrets(session, session.get_one(Source, source.id), actor="test")
    token["X-Gitlab-Token"] = fresh.secret
    assert send(7).status_code == 200, "no signing token that was used is left"


# --- refusals ----------------------------------------------------------------------------------------


def test_a_sha1_signature_alone_is_refused_and_the_ledger_says_so(at_noon):
    secret = Secret("one", new_secret("hmac"), "hmac")
    made = hmac.new(secret.value.encode(), b"{}", "sha1").hexdigest()

    result = GITHUB.verify({"X-Hub-Signature": f"sha1={made}"}, b"{}", [secret], at_noon)

    assert (result.ok, result.reason) == (False, Reason.SIGNATURE_MISSING)
    assert "SHA-1" in result.steps[0].detail


def test_a_wrong_gitlab_signature_does_not_fall_back_to_the_right_token(at_noon, standard_headers):
    signing = Secret("sig", new_secret("signing"), "signing")
    token = Secret("tok", new_secret("token"), "token")
    headers = standard_headers(b"{}", signing, at_noon) | {"X-Gitlab-Token": token.value}

    changed = GITLAB.verify(headers, b"{ }", [token, signing], at_noon)
    emptied = GITLAB.verify(headers | {"webhook-signature": ""}, b"{}", [token, signing], at_noon)

    assert (changed.ok, changed.reason) == (False, Reason.SIGNATURE_WRONG)
    assert not emptied.ok
    assert GITLAB.verify(headers, b"{}", [token, signing], at_noon).secret_id == "sig"


def test_the_classic_token_verifies_when_gitlab_sends_no_signature(at_noon):
    secrets = [Secret("tok", new_secret("token"), "token"), Secret("sig", new_secret("signing"), "signing")]
    headers = {"X-Gitlab-Token": secrets[0].value}

    assert GITLAB.verify(headers, b"{}", secrets, at_noon).secret_id == "tok"
    assert GITLAB.verify(headers, b"{}", secrets[1:], at_noon).reason is Reason.SIGNATURE_MISSING


def test_a_signature_for_no_configured_signing_token_leaves_the_classic_token(at_noon, standard_headers):
    stranger = Secret("sig", new_secret("signing"), "signing")
    token = Secret("tok", new_secret("token"), "token")
    headers = standard_headers(b"{}", stranger, at_noon)

    assert GITLAB.verify(headers | {"X-Gitlab-Token": token.value}, b"{}", [token], at_noon).ok
    assert not GITLAB.verify(headers, b"{}", [token], at_noon).ok


@pytest.mark.parametrize(("drift", "ok"), [(-301, False), (-300, True), (0, True), (300, True), (301, False)])
@pytest.mark.parametrize("scm", [GITLAB, GENERIC], ids=["gitlab", "generic"])
def test_a_right_signature_outside_the_window_is_refused(scm, drift, ok, at_noon, standard_headers):
    secret = Secret("sig", new_secret("signing"), "signing")
    headers = standard_headers(b"{}", secret, at_noon + timedelta(seconds=drift))

    result = scm.verify(headers, b"{}", [secret], at_noon)

    assert result.ok is ok
    assert result.reason is (None if ok else Reason.TIMESTAMP_OUTSIDE_WINDOW)
    assert str(abs(drift)) in result.steps[-1].detail


@pytest.mark.parametrize("timestamp", ["", "-1", "{}.0", " {}", "+{}", "{}e0", "9" * 400, "now"])
def test_a_timestamp_that_is_no_number_never_verifies_even_rightly_signed(timestamp, at_noon):
    timestamp = timestamp.format(int(at_noon.timestamp()))
    secret = Secret("sig", new_secret("signing"), "signing")
    made = hmac.new(secret.key(), f"msg_1.{timestamp}.{{}}".encode(), "sha256").digest()
    headers = {
        "webhook-id": "msg_1",
        "webhook-timestamp": timestamp,
        "webhook-signature": "v1," + base64.b64encode(made).decode(),
    }

    assert not GENERIC.verify(headers, b"{}", [secret], at_noon).ok


@pytest.mark.parametrize("kind", KINDS)
def test_without_live_secrets_nothing_verifies(kind, at_noon, github_headers, standard_headers):
    scm = scm_for(kind)
    stranger = Secret("sig", new_secret("signing"), "signing")
    key = Secret("key", new_secret("hmac"), "hmac")
    headers = github_headers("push", b"{}", key) | standard_headers(b"{}", stranger, at_noon)

    for secrets in ([], [Secret("x", new_secret("token"), "token")] if kind != "gitlab" else []):
        result = scm.verify(headers | {"X-Gitlab-Token": ""}, b"{}", secrets, at_noon)
        assert (result.ok, result.reason) == (False, Reason.SECRET_NOT_SET)


@pytest.mark.parametrize("kind", KINDS)
def test_the_ledger_never_holds_a_secret_or_a_received_credential(
    kind, at_noon, github_headers, standard_headers
):
    key, signing, token = (Secret(name, new_secret(name), name) for name in ("hmac", "signing", "token"))
    sent = github_headers("push", b"{}", key) | standard_headers(b"{}", signing, at_noon)
    sent |= {"X-Gitlab-Token": "the-stranger's-own-token"}
    credentials = {each for name, each in sent.items() if "ignature" in name or "Token" in name}

    for secrets in ([key, signing, token], [token], []):
        shown = repr(scm_for(kind).verify(sent, b"{}", secrets, at_noon))
        assert not [each for each in credentials | {key.value, signing.value, token.value} if each in shown]


@pytest.mark.parametrize("kind", KINDS)
def test_the_work_does_not_tell_which_secrets_exist(
    kind, at_noon, github_headers, standard_headers, monkeypatch
):
    key, signing, token = (Secret(name, new_secret(name), name) for name in ("hmac", "signing", "token"))
    right = github_headers("push", b"{}", key) | standard_headers(b"{}", signing, at_noon)
    right |= {"X-Gitlab-Token": token.value}
    work: list[int] = []

    class Counted:
        def __init__(self, inner):
            self.inner = inner

        def update(self, part):
            work.append(len(part))
            self.inner.update(part)

        def digest(self):
            return self.inner.digest()

    original = hmac.new
    monkeypatch.setattr(mac.hmac, "new", lambda *given, **named: Counted(original(*given, **named)))
    seen = set()
    for secrets in ([], [key, signing, token], [key, Secret("k2", new_secret("hmac"), "hmac")]):
        for headers in (
            right,
            {},
            right | {"X-Hub-Signature-256": "sha256=0", "webhook-signature": "v1,AA=="},
        ):
            work.clear()
            scm_for(kind).verify(headers, b"x" * 1000, secrets, at_noon)
            seen.add(sum(1 for size in work if size == 1000))

    assert seen == {mac.SLOTS}


@pytest.mark.parametrize("kind", KINDS)
def test_a_call_is_taken_by_the_comparison_in_constant_time_alone(kind, monkeypatch):
    """Of bytes: of text it would stumble over what is not ASCII (users.md, story 3)."""
    secret_kind = {"gitlab": "token", "generic": "signing"}.get(kind, "hmac")
    secret = Secret("one", new_secret(secret_kind), secret_kind)
    right = Sender(None, "widget", kind, HookSecrets(secret.value, None)).headers(b"{}")
    compared = []

    def never(*sides):
        compared.extend(sides)
        return False

    scm, now = scm_for(kind), datetime.now(UTC)
    assert scm.verify(right, b"{}", [secret], now).ok
    monkeypatch.setattr(hmac, "compare_digest", never)
    assert not scm.verify(right, b"{}", [secret], now).ok
    assert compared
    signed = [name for name in right if "ignature" in name or "Token" in name]
    assert not scm.verify(right | dict.fromkeys(signed, "Schlüssel"), b"{}", [secret], now).ok
    assert {type(side) for side in compared} == {bytes}


def test_digits_of_other_scripts_are_no_timestamp(at_noon):
    secret = Secret("sig", new_secret("signing"), "signing")
    latin = str(int(at_noon.timestamp()))
    arabic = latin.translate({ord("0") + digit: 0x0660 + digit for digit in range(10)})
    made = hmac.new(secret.key(), f"msg_1.{arabic}.{{}}".encode(), "sha256").digest()
    headers = {
        "webhook-id": "msg_1",
        "webhook-timestamp": arabic,
        "webhook-signature": "v1," + base64.b64encode(made).decode(),
    }

    assert int(arabic) == int(latin)
    assert not GENERIC.verify(headers, b"{}", [secret], at_noon).ok


# --- delivery ids ------------------------------------------------------------------------------------


def test_delivery_ids_are_found_in_any_case_and_order_of_trust():
    assert GITHUB.delivery_id({"x-GITHUB-delivery": "a1"}) == "a1"
    assert GENERIC.delivery_id({"Webhook-Id": "msg_1"}) == "msg_1"
    everything = {"Idempotency-Key": "b", "X-Gitlab-Event-UUID": "c", "webhook-id": "a"}
    assert GITLAB.delivery_id(everything) == "a"
    everything.pop("webhook-id")
    assert GITLAB.delivery_id(everything) == "b"
    assert GITLAB.delivery_id({"X-Gitlab-Event-UUID": "c"}) == "c"


@pytest.mark.parametrize("unusable", ["", "a b", "a\nb", "x" * 201, "schlüssel", "\x00"])
def test_an_id_that_cannot_be_stored_is_no_id(unusable):
    assert GITHUB.delivery_id({"X-GitHub-Delivery": unusable}) is None


def test_json_text_is_no_second_reading_of_the_signed_text(at_noon, standard_headers):
    # `id.timestamp.body` has no lengths: moving a dot must not make another valid delivery.
    secret = Secret("sig", new_secret("signing"), "signing")
    body = json.dumps({"a": "1.5"}).encode()
    headers = standard_headers(body, secret, at_noon)
    shifted = {
        **headers,
        "webhook-id": f"msg_1.{headers['webhook-timestamp']}",
        "webhook-timestamp": body.decode().partition(".")[0],
    }

    assert not GENERIC.verify(shifted, body.partition(b".")[2], [secret], at_noon).ok
