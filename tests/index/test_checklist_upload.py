"""The conformance checklist of uploads, part F, each line by its number (reference: index.md section 3)."""

from __future__ import annotations

import base64
import hashlib
import json

import pytest
from sqlalchemy import select

from buildfarm import clock
from buildfarm.index import names, namespaces, status, withdraw
from buildfarm.index.model import File
from buildfarm.mirror.model import UpstreamPage
from buildfarm.mirror.upstream import Upstream
from tests.index.uploads import URL, body_of, fields_of, send

FORM = "multipart/form-data; boundary=limit"


@pytest.fixture(autouse=True)
def nothing_upstream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Upstream, "rows", lambda _self, _name: None)


@pytest.fixture
def client(house):
    house.follower.catch_up()
    return house.client(house.token("upload:dev", "read:dev"))


def stored(house) -> list[str]:
    with house.database.read() as session:
        return sorted(session.scalars(select(File.filename)))


@pytest.mark.parametrize("order", ["as sent", "reversed", "content first", "typed content"])
def test_62_fields_come_in_any_order(house, client, order: str) -> None:
    filename, data = house.wheel()
    parts = [(name, None, value.encode()) for name, value in fields_of(filename, data).items()]
    parts.append(("content", filename, data))
    if order == "reversed":
        parts.reverse()
    if order == "content first":
        parts.insert(0, parts.pop())
    body = body_of(parts)
    if order == "typed content":
        name = f'filename="{filename}"\r\n'.encode()
        body = body.replace(name, name + b"Content-Type: application/octet-stream\r\n")
    assert client.post(URL, data=body, content_type=FORM).status_code == 200
    assert stored(house) == [filename]


@pytest.mark.parametrize("url", ["/dev/legacy", "/dev/legacy/"])
def test_63_no_redirect_with_or_without_a_slash(house, client, url: str) -> None:
    assert send(client, *house.wheel(), url=url).status_code == 200


def test_64_and_75_the_file_is_listed_when_the_call_returns_200(house, client) -> None:
    filename, data = house.wheel()
    assert send(client, filename, data).status_code == 200
    house.follower.catch_up()  # its process does so in a farm; the answer waits for it
    page = client.get("/dev/simple/widget/", headers={"Accept": "application/vnd.pypi.simple.v1+json"})
    assert page.json["files"][0]["hashes"]["sha256"] == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("algorithm", ["sha256", "blake2_256", "md5 hex", "md5 base64", "none"])
@pytest.mark.parametrize("agrees", [True, False])
def test_65_each_digest_is_compared_and_none_is_needed(
    house, client, algorithm: str, *, agrees: bool
) -> None:
    filename, data = house.wheel()
    hashed = data if agrees else b"other"
    md5 = hashlib.md5(hashed, usedforsecurity=False)
    digests: dict[str, str | None] = {
        "sha256": hashlib.sha256(hashed).hexdigest(),
        "blake2_256": hashlib.blake2b(hashed, digest_size=32).hexdigest(),
        "md5 hex": md5.hexdigest().upper(),
        "md5 base64": base64.urlsafe_b64encode(md5.digest()).rstrip(b"=").decode(),
    }
    given = {f"{algorithm.split()[0]}_digest": digests[algorithm]} if algorithm in digests else {}
    answer = send(client, filename, data, **({"sha256_digest": None} | given))
    expected = 200 if agrees or algorithm == "none" else 400
    assert answer.status_code == expected, answer.text


def test_66_repeated_keys_are_taken(house, client) -> None:
    filename, data = house.wheel()
    parts = [(name, None, value.encode()) for name, value in fields_of(filename, data).items()]
    for name in (
        *("classifiers", "requires_dist", "project_urls", "provides_extra", "dynamic", "license_file"),
        *("platform", "supported_platform", "import_name", "import_namespace"),
    ):
        parts += [(name, None, b"one"), (name, None, "zw\xf6lf".encode())]
    parts.append(("content", filename, data))
    assert client.post(URL, data=body_of(parts), content_type=FORM).status_code == 200


@pytest.mark.parametrize("changes", [{"name": "gadget"}, {"version": "9"}, {"filetype": "sdist"}])
def test_67_a_form_that_disagrees_with_the_archive_is_refused(house, client, changes: dict) -> None:
    assert send(client, *house.wheel(), **changes).status_code == 400
    assert stored(house) == []


def test_67_what_clients_announce_otherwise_is_a_hint(house, client) -> None:
    # flit says 2.3 and writes 2.5; the summary is anybody's.
    changes = {"metadata_version": "2.3", "summary": "Another", "requires_python": ">=99"}
    assert send(client, *house.wheel(), **changes).status_code == 200


def test_68_and_69_the_same_bytes_again_and_others(house, client) -> None:
    assert [send(client, *house.wheel()).status_code for _ in range(2)] == [200, 200]
    answer = send(client, *house.wheel(code="x = 2\n"))
    assert answer.status_code == 409
    reason = answer.status.removeprefix("409 ")
    assert reason.startswith("File already exists")
    assert reason.isascii()
    assert len(reason) <= 200
    assert answer.content_type == "application/problem+json"
    assert answer.json["title"].startswith("File already exists")
    assert "release a new version" in answer.json["detail"]


def test_68_a_withdrawn_name_never_comes_back(house, client) -> None:
    filename, data = house.wheel()
    send(client, filename, data)
    with house.database.begin() as session:
        withdraw.withdraw(
            session, project="widget", version="1.0", filenames=[], reason="A key leaked.", actor="ada"
        )
    for code in ("x = 1\n", "x = 2\n"):
        answer = send(client, *house.wheel(code=code))
        assert (answer.status_code, answer.json["code"]) == (409, "file.withdrawn")
        assert answer.status.removeprefix("409 ").startswith("File already exists")


def test_70_and_71_who_may_upload_what(house, client) -> None:
    wheel = house.wheel()
    for stranger in (house.client(), house.client("bft_wrong")):
        answer = send(stranger, *wheel)
        assert (answer.status_code, "WWW-Authenticate" in answer.headers) == (401, True)
    assert send(house.client(house.token("read:dev")), *wheel).status_code == 403
    with house.database.begin() as session:
        names.add_local(session, "closed", "closed", actor="test")
        status.set_status(session, "closed", "archived", reason="See widget.", actor="test")
        namespaces.add(session, "acme", [], actor="test")
    reserved = send(client, *house.wheel("acme-widget"))
    assert (reserved.status_code, reserved.json["code"]) == (409, "namespace.reserved")
    closed = send(client, *house.wheel("closed"))
    assert (closed.status_code, closed.json["code"]) == (403, "project.closed")
    assert "See widget." in closed.status
    assert send(house.client(house.token("admin")), *house.wheel("acme-widget")).status_code == 200


def test_74_a_pgp_signature_is_dropped(house, client) -> None:
    filename, data = house.wheel()
    parts = [(name, None, value.encode()) for name, value in fields_of(filename, data).items()]
    parts += [("gpg_signature", f"{filename}.asc", b"----"), ("content", filename, data)]
    assert client.post(URL, data=body_of(parts), content_type=FORM).status_code == 200


def test_equal_versions_are_one_release_and_the_first_spelling_is_shown(house, client) -> None:
    send(client, *house.wheel(version="1.0"))
    send(client, *house.wheel(version="1.0.0"))
    with house.database.read() as session:
        assert len({file.release_id for file in session.scalars(select(File))}) == 1
    house.follower.catch_up()
    headers = {"Accept": "application/vnd.pypi.simple.v1+json"}
    page = json.loads(client.get("/dev/simple/widget/", headers=headers).data)
    assert (page["versions"], len(page["files"])) == (["1.0"], 2)


@pytest.mark.parametrize("refuse", [False, True])
def test_a_name_that_looks_like_another_is_warned_of_or_refused(open_house, *, refuse: bool) -> None:
    house = open_house(index={"refuse_lookalikes": refuse})
    client = house.client(house.token("upload:dev"))
    send(client, *house.wheel("widget"))
    now = clock.now()
    times = {"fetched_at": now, "checked_at": now, "changed_at": now}
    with house.database.begin() as session:
        session.add(
            UpstreamPage(
                project="sprocket", upstream="https://u.example", version=1, is_json=True, content=[], **times
            )
        )
    for known, new in (("widget", "w1dget"), ("sprocket", "spr0cket")):
        answer = send(client, *house.wheel(new))
        if refuse:
            assert (answer.status_code, answer.json["code"]) == (409, "project.looks_like")
        else:
            assert (answer.status_code, known in answer.text) == (200, True)
