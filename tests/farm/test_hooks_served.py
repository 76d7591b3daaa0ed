"""Deliveries over real HTTP: the same one at once, forged ones, and some while web is killed."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Event

import pytest
import requests

from buildfarm.farm.model import Build, Task
from buildfarm.scm.kinds import KINDS
from buildfarm.scm.model import Delivery
from buildfarm.scm.secret import new_secret
from tests.farm.senders import Sender, found, sender_of
from tests.waiting import wait_for

pytestmark = pytest.mark.system

#: Where each signs, and what stands before the signature.
SIGNED_IN = {
    "github": ("X-Hub-Signature-256", "sha256="),
    "gitlab": ("X-Gitlab-Token", ""),
    "gitea": ("X-Gitea-Signature", ""),
    "forgejo": ("X-Forgejo-Signature", ""),
    "bitbucket-data-center": ("X-Hub-Signature", "sha256="),
    "bitbucket-cloud": ("X-Hub-Signature", "sha256="),
    "pagure": ("X-Pagure-Signature-256", ""),
    "generic": ("webhook-signature", "v1,"),
}
Headers = dict[str, str | bytes]


def test_a_delivery_that_comes_twenty_times_at_once_makes_one_build(each_house, serve) -> None:
    """Story 2."""
    sender = sender_of(each_house, "github")
    url = serve(each_house)
    body = sender.push()

    def send(_: int) -> requests.Response:
        return requests.post(f"{url}/hooks/widget", data=body, headers=sender.headers(body), timeout=60)

    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(send, range(20)))
    assert sorted(answer.status_code for answer in answers) == [200] * 19 + [202]
    assert {answer.json()["state"] for answer in answers} == {"accepted", "duplicate"}
    assert len({answer.json()["delivery"] for answer in answers}) == 1
    assert [len(found(each_house, model)) for model in (Delivery, Build, Task)] == [1, 1, 1]


def malformed(sender: Sender, body: bytes) -> Iterator[tuple[str, bytes, Headers]]:
    """A reason, and a body and headers that are to be refused for it."""
    header, prefix = SIGNED_IN[sender.scm]
    right: Headers = dict(sender.headers(body))
    value = str(right[header])
    bare = value.removeprefix(prefix)
    unsigned = {name: sent for name, sent in right.items() if name != header}
    kind = "signing" if sender.scm == "generic" else "hmac"
    sha1 = hmac.new(sender.secret.secret.encode(), body, "sha1").hexdigest()
    empty_key = hmac.new(b"", body, hashlib.sha256).hexdigest()

    yield "signature_missing", body, unsigned
    yield "signature_missing", body, right | {header: ""}
    yield "signature_wrong", body, right | {header: bare if prefix else f"sha256={bare}"}
    yield "signature_wrong", body, right | {header: value[:-2]}
    yield "signature_wrong", body, right | {header: f"{prefix}{empty_key}"}
    yield "signature_wrong", body, right | {header: f"{prefix}äöü".encode()}
    yield "signature_wrong", body, right | {header: f"{prefix}{bare}\xa0".encode("latin-1")}
    yield "signature_wrong", body, dict(sender.headers(body, secret=new_secret(kind)))
    only_sha1 = unsigned | {"X-Hub-Signature": f"sha1={sha1}"}
    yield "signature_wrong" if header == "X-Hub-Signature" else "signature_missing", body, only_sha1
    if sender.scm != "gitlab":  # its classic token vouches for no body
        yield "signature_wrong", body.replace(b"2", b"3", 1), right


def test_every_malformed_signature_is_refused_and_its_row_says_why(each_house, serve) -> None:
    """Story 3, for each SCM."""
    senders = [sender_of(each_house, kind, f"from-{kind}") for kind in KINDS]
    url = serve(each_house)
    for sender in senders:
        body = sender.push()
        expected = []
        for reason, sent, headers in malformed(sender, body):
            answer = requests.post(f"{url}/hooks/{sender.name}", data=sent, headers=headers, timeout=60)
            assert (answer.status_code, answer.json()["code"]) == (401, "hook.unauthenticated"), (
                reason,
                headers,
            )
            expected.append(reason)
        rows = sorted(found(each_house, Delivery), key=lambda row: row.id)
        refused = [row for row in rows if row.scm == sender.scm]
        assert [row.reason for row in refused] == expected
        assert {row.state for row in refused} == {"rejected"}
        assert all(row.steps and not row.steps[-1]["ok"] for row in refused)
        assert sender.secret.secret not in repr([row.steps for row in refused])
        # What was refused does not stand in the way of the true one.
        answer = requests.post(
            f"{url}/hooks/{sender.name}", data=body, headers=sender.headers(body), timeout=60
        )
        assert answer.status_code == 202
    assert len(found(each_house, Build)) == len(KINDS)


def test_each_delivery_ends_as_one_build_when_web_is_killed_under_load(each_house, serve) -> None:
    """Two dozen send as fast as they are answered, to two processes whose writes are committed together.

    The sender sends again what got no answer, as SCMs do or their administrators let them do.
    """
    count, sender = 200, sender_of(each_house, "github")
    start = partial(serve, each_house, workers=2, threads=64)
    place, is_up, taken = {"url": start()}, Event(), []
    is_up.set()

    def deliver(number: int) -> None:
        body = sender.push(ref=f"refs/tags/v{number}", commit=f"{number:040x}")
        while True:
            assert is_up.wait(60)
            headers = sender.headers(body, number)
            try:
                answer = requests.post(f"{place['url']}/hooks/widget", data=body, headers=headers, timeout=30)
            except requests.RequestException:
                continue
            if answer.status_code == 503:  # a disk that stands still is such an outage too
                continue
            assert answer.status_code in (200, 202), answer.text
            taken.append(number)
            return

    with ThreadPoolExecutor(24) as pool:
        calls = [pool.submit(deliver, number) for number in range(1, count + 1)]
        wait_for(lambda: len(taken) >= count // 3)
        is_up.clear()
        serve.kill()
        place["url"] = start()
        is_up.set()
        for call in calls:
            call.result()
    assert sorted(taken) == list(range(1, count + 1))
    deliveries, built = found(each_house, Delivery), found(each_house, Build)
    assert {row.state for row in deliveries} == {"accepted"}
    assert len(deliveries) == len({row.key for row in deliveries}) == count
    assert sorted(build.ref for build in built) == sorted(f"refs/tags/v{n}" for n in range(1, count + 1))
    assert len(found(each_house, Task)) == count
