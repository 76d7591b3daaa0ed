"""Deliveries of several refs, and what a source's own settings make of deliveries."""

from __future__ import annotations

import hashlib
import hmac
import json

import pytest

from buildfarm.farm.model import Build, Task
from buildfarm.scm.model import DeliveryEvent
from tests.farm.senders import COMMIT, change, cloud_change, found, sender_of


@pytest.mark.parametrize("scm", ["bitbucket-data-center", "bitbucket-cloud"])
def test_every_ref_of_one_push_starts_a_build_of_its_own(each_house, scm: str) -> None:
    sender = sender_of(each_house, scm)
    pushed = [
        ("refs/heads/main", COMMIT), ("refs/heads/topic", "3" * 40), ("refs/tags/v1", "4" * 40),
        ("refs/heads/release/1", "5" * 40), ("refs/heads/gone", "0" * 40),
    ]  # fmt: skip
    made = change if scm == "bitbucket-data-center" else cloud_change
    changes = [made(ref, commit) for ref, commit in pushed]
    body = sender.push(**({"changes": changes} if made is change else {"push": {"changes": changes}}))
    answer = sender.send(body)
    assert (answer.status_code, answer.json["state"], len(answer.json["builds"])) == (202, "accepted", 3)
    assert {(build.ref, build.commit) for build in found(each_house, Build)} == {
        pushed[0], pushed[2], pushed[3],
    }  # fmt: skip
    assert len(found(each_house, Task)) == 3
    events = sorted(found(each_house, DeliveryEvent), key=lambda event: event.position)
    assert [(event.ref, event.reason) for event in events] == [
        ("refs/heads/main", None), ("refs/heads/topic", "ref_not_followed"), ("refs/tags/v1", None),
        ("refs/heads/release/1", None), ("refs/heads/gone", "branch_deleted"),
    ]  # fmt: skip
    client = each_house.client(each_house.token("build", "view"))
    shown = client.get(f"/api/v1/deliveries/{answer.json['delivery']}").json
    assert [event["reason"] for event in shown["events"]] == [event.reason for event in events]
    page = client.get(f"/deliveries/{answer.json['delivery']}").text
    assert "What it announces" in page
    assert "This branch or tag is not one that the source follows." in page
    again = client.post(f"/api/v1/deliveries/{answer.json['delivery']}/replay")
    assert [build["ref"] for build in again.json["items"]] == [pushed[n][0] for n in (0, 2, 3)]
    assert sender.send(body).json["state"] == "duplicate"


def test_one_ref_twice_in_one_push_builds_once(house) -> None:
    sender = sender_of(house, "bitbucket-data-center")
    answer = sender.send(sender.push(changes=[change("refs/heads/main", COMMIT)] * 2))
    assert len(answer.json["builds"]) == 1
    assert [event.reason for event in found(house, DeliveryEvent)] == [None, "already_built"]


def test_tags_are_followed_by_their_patterns_and_what_is_followed_canchange(house) -> None:
    sender = sender_of(house, "github")
    admin = house.client(house.token("admin"))
    told = admin.put("/api/v1/sources/widget/follows", json={"tags": ["v*"]}).json
    assert (told["tags"], told["branches"], told["paths"]) == (["v*"], ["main", "release/*"], [])
    assert sender.send(sender.push(ref="refs/tags/nightly"), 1).json["reason"] == "ref_not_followed"
    assert sender.send(sender.push(ref="refs/tags/v1"), 2).status_code == 202
    admin.put("/api/v1/sources/widget/follows", json={"branches": [], "tags": []})
    assert sender.send(sender.push(ref="refs/tags/v2"), 3).json["reason"] == "ref_not_followed"
    assert sender.send(sender.push(), 4).json["reason"] == "ref_not_followed"
    refused = admin.put("/api/v1/sources/widget/follows", json={"paths": ["a\n"]})
    assert (refused.status_code, refused.json["code"]) == (400, "source.glob")


def test_a_repository_that_was_renamed_is_shown_on_its_source_until_somebody_moves_it(house) -> None:
    sender = sender_of(house, "github")
    moved = {
        "action": "renamed", "changes": {"repository": {"name": {"from": "widget"}}},
        "repository": {"full_name": "acme/gadget", "name": "gadget", "owner": {"login": "acme"},
                       "clone_url": "https://github.example/acme/gadget.git"},
    }  # fmt: skip
    other = moved | {"changes": {"repository": {"name": {"from": "something"}}}}
    send = sender.send
    assert send(json.dumps(other).encode(), 1, event="repository").json["reason"] == "other_repository"
    assert send(json.dumps(moved).encode(), 2, event="repository").json["reason"] == "repository_renamed"
    admin = house.client(house.token("admin"))
    shown = admin.get("/api/v1/sources/widget").json
    assert (shown["moved_to"], shown["url"]) == (
        "https://github.example/acme/gadget.git", "https://github.example/acme/widget.git",
    )  # fmt: skip
    assert "is now at https://github.example/acme/gadget.git" in admin.get("/sources/widget").text
    after = admin.put("/api/v1/sources/widget/url", json={"url": shown["moved_to"]}).json
    assert (after["url"], after["moved_to"]) == (shown["moved_to"], None)
    body = sender.push(repository={"full_name": "acme/gadget"})
    assert send(body, 3).status_code == 202


def test_a_source_that_moves_to_another_host_does_not_take_its_credential_along(house) -> None:
    sender_of(house, "github")
    admin = house.client(house.token("admin"))
    put = {"username": "robot", "password": "s3cr3t-of-one-host"}

    def moved(url: str) -> object:
        admin.put("/api/v1/sources/widget/credential", json=put)
        return admin.put("/api/v1/sources/widget/url", json={"url": url}).json["credential"]

    assert moved("https://github.example/acme/gadget.git") is not None
    assert moved("https://other.example/acme/gadget.git") is None


def test_a_sender_with_a_header_of_its_own_is_taken_as_its_source_says(house) -> None:
    admin = house.client(house.token("admin"))
    told = {
        "signature": {"header": "X-Acme-Signature", "prefix": "sha256="},
        "pointers": {"ref": "/push/ref", "commit": "/push/new"},
    }
    source = {"name": "gadget", "url": "https://git.example/acme/gadget.git", "branches": ["main"]}
    made = admin.post("/api/v1/sources", json=source | {"scm_settings": told}).json
    assert (made["signing_token"], made["scm_settings"]["signature"]["prefix"]) == (None, "sha256=")
    body = json.dumps({"push": {"ref": "refs/heads/main", "new": COMMIT}}).encode()
    signature = hmac.new(made["secret"].encode(), body, hashlib.sha256).hexdigest()
    headers = {"Content-Type": "application/json", "X-Acme-Signature": f"sha256={signature}"}
    client = house.app.test_client()
    assert client.post("/hooks/gadget", data=body, headers=headers).status_code == 202
    assert client.post("/hooks/gadget", data=body + b" ", headers=headers).status_code == 401
    assert client.post("/hooks/gadget", data=body).status_code == 401
    refused = admin.post(
        "/api/v1/sources", json=source | {"name": "x", "scm": "github", "scm_settings": told}
    )
    assert (refused.status_code, refused.json["code"]) == (400, "source.generic_settings")


@pytest.mark.parametrize("scm", ["github", "gitlab", "bitbucket-cloud"])
def test_refs_in_any_script_are_built_by_their_names(house, scm: str) -> None:
    sender = sender_of(house, scm)
    ref = "refs/heads/release/größe-✓-日本"
    assert sender.send(sender.push(ref=ref)).status_code == 202
    assert [build.ref for build in found(house, Build)] == [ref]


def test_a_body_of_just_the_limit_is_taken(open_house) -> None:
    house = open_house(limits={"hook_body_bytes": 10_000})
    sender = sender_of(house, "github")
    room = 10_000 - len(sender.push(padding=""))
    assert sender.send(sender.push(padding="x" * (room + 1)), 1).status_code == 413
    assert sender.send(sender.push(padding="x" * room), 2).status_code == 202
