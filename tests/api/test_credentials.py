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


GHE = "https://ghe.example/acme/gadget.git"


def test_the_token_of_an_scms_api_is_kept_and_shown_by_nothing(admin, caplog) -> None:
    caplog.set_level(logging.DEBUG)
    given = {"token": f"{CANARY}\n", "ca": CA}
    made = admin.post(
        "/api/v1/sources", json={"name": "gadget", "url": GHE, "scm": "github", "scm_token": given}
    )
    again = admin.put(
        "/api/v1/sources/gadget/scm-token", json=given | {"api_url": "https://api.ghe.example/"}
    )
    assert (made.status_code, again.status_code) == (201, 200)
    shown = admin.get("/api/v1/sources/gadget").json["answering"]
    assert (shown["api_url"], shown["waiting"], shown["trouble"]) == ("https://api.ghe.example", 0, None)
    paths = ("/api/v1/sources", "/api/v1/sources/gadget", "/api/v1/journal?limit=200")
    told = [made.data, again.data, caplog.text.encode(), *(admin.get(path).data for path in paths)]
    told.append(admin.get("/sources/gadget", headers={"Accept": "text/html"}).data)
    assert b"https://api.ghe.example" in told[-1]
    assert not [answer for answer in told if CANARY.encode() in answer]
    assert admin.delete("/api/v1/sources/gadget/scm-token").json["answering"] is None


@pytest.mark.parametrize(
    ("scm", "given", "code"),
    [
        ("github", {"token": " "}, "forge.token"),
        ("github", {"token": "two\nlines"}, "forge.token"),
        ("github", {"token": "t", "app_id": "12"}, "forge.token"),
        ("github", {"token": KEY, "app_id": "twelve"}, "forge.token"),
        ("gitlab", {"token": KEY, "app_id": "12"}, "forge.token"),
        ("github", {"token": "t", "ca": CANARY}, "forge.token"),
        ("github", {"token": "t", "api_url": "http://ghe.example/api/v3"}, "forge.api_url"),
        ("generic", {"token": "t"}, "forge.none"),
    ],
)
def test_a_token_that_cannot_be_used_is_refused_without_a_word_of_it(admin, scm, given, code) -> None:
    refused = admin.post(
        "/api/v1/sources", json={"name": "gadget", "url": GHE, "scm": scm, "scm_token": given}
    )
    assert (refused.status_code, refused.json["code"]) == (400, code)
    assert CANARY not in refused.text
    assert admin.get("/api/v1/sources/gadget").status_code == 404
