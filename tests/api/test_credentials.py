"""Credentials of private repositories: taken, used by the fetcher alone, shown by nothing."""

from __future__ import annotations

import logging

import pytest

from buildfarm.farm import builds, plan
from buildfarm.farm.plan import Planner
from buildfarm.sources.model import SourceCredential

CANARY = "canary-4711"
KEY = f"-----BEGIN OPENSSH PRIVATE KEY-----\r\n{CANARY}\r\n-----END OPENSSH PRIVATE KEY-----"
CA = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
HTTPS, SSH = "https://git.example/acme/gadget.git", "ssh://git@git.example/acme/gadget.git"
ROBOT = {"username": "robot", "password": CANARY}


@pytest.fixture
def admin(house):
    return house.client(house.token("admin"))


def credential(admin):
    return admin.get("/api/v1/sources/gadget").json["credential"]


@pytest.mark.parametrize(
    ("url", "given", "kind"),
    [
        (HTTPS, ROBOT | {"ca": CA}, "password"),
        (HTTPS, {"ca": CA}, "ca"),
        (SSH, {"ssh_key": KEY, "known_hosts": "git.example ssh-ed25519 AAAA"}, "ssh-key"),
    ],
)
def test_a_credential_is_kept_and_shown_by_its_kind_alone(admin, caplog, url, given, kind) -> None:
    caplog.set_level(logging.DEBUG)
    made = admin.post("/api/v1/sources", json={"name": "gadget", "url": url, "credential": given})
    again = admin.put("/api/v1/sources/gadget/credential", json=given)
    assert (made.status_code, again.status_code) == (201, 200)
    shown = credential(admin)
    assert (shown["kind"], shown["last_used_at"]) == (kind, None)
    assert (shown["ca"], shown["known_hosts"]) == ("ca" in given, "known_hosts" in given)
    paths = ("/api/v1/sources", "/api/v1/sources/gadget", "/api/v1/journal?limit=200")
    told = [made.data, again.data, caplog.text.encode(), *(admin.get(path).data for path in paths)]
    told.append(admin.get("/sources/gadget", headers={"Accept": "text/html"}).data)
    assert not [answer for answer in told if CANARY.encode() in answer]


@pytest.mark.parametrize(
    ("url", "given"),
    [
        (HTTPS, {}),
        (HTTPS, {"password": CANARY}),
        (HTTPS, {"username": "robot"}),
        (HTTPS, {"username": "robot", "password": f"{CANARY}\nhost=evil.example"}),
        (HTTPS, {"ssh_key": KEY}),
        (HTTPS, {"ca": CANARY}),
        (SSH, ROBOT),
        (SSH, {"ssh_key": CANARY}),
        (SSH, {"ssh_key": KEY + "x" * (300 << 10)}),
        (SSH, {"ssh_key": KEY, "ca": CA}),
        (HTTPS, {"username": "robot", "password": [CANARY]}),
        (HTTPS, {"username": "robot", "pass": CANARY}),
    ],
)
def test_what_cannot_be_used_is_refused_without_repeating_it(admin, url, given) -> None:
    assert admin.post("/api/v1/sources", json={"name": "gadget", "url": url}).status_code == 201
    refused = admin.put("/api/v1/sources/gadget/credential", json=given)
    assert refused.status_code == 400
    assert CANARY.encode() not in refused.data
    assert credential(admin) is None


def test_a_credential_is_replaced_and_forgotten(house, admin) -> None:
    admin.post("/api/v1/sources", json={"name": "gadget", "url": HTTPS, "credential": ROBOT})
    admin.put("/api/v1/sources/gadget/credential", json={"username": "other", "password": "x"})
    assert credential(admin)["username"] == "other"
    assert admin.delete("/api/v1/sources/gadget/credential").json["credential"] is None
    assert admin.delete("/api/v1/sources/gadget/credential").status_code == 404
    admin.put("/api/v1/sources/gadget/credential", json=ROBOT)
    assert admin.delete("/api/v1/sources/gadget").status_code == 200
    with house.farm.database.read() as session:
        assert session.query(SourceCredential).count() == 0


def test_the_fetcher_is_handed_it_and_its_use_is_noted(house, admin, monkeypatch) -> None:
    admin.post("/api/v1/sources", json={"name": "gadget", "url": HTTPS, "credential": ROBOT | {"ca": CA}})
    asked = []

    def fetch(request, _into):
        asked.append(request)
        raise RuntimeError("far enough")

    monkeypatch.setattr(plan, "fetch_snapshot", fetch)
    build_id = admin.post("/api/v1/builds", json={"source": "gadget", "ref": "main"}).json["id"]
    with house.farm.database.read() as session:
        task = builds.get(session, build_id)
    farm = house.farm
    planner = Planner(farm.database, farm.blobs, farm.settings, farm.upstream, farm.build_door)
    with pytest.raises(RuntimeError, match="far enough"):
        planner.run(task.id, ("tsk_x", 1))
    handed = asked[0].credential
    assert (handed.username, handed.password.get_secret_value(), handed.ca) == ("robot", CANARY, CA)
    assert CANARY not in repr(asked)
    assert credential(admin)["last_used_at"]
