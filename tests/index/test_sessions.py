"""Upload sessions over HTTP (PEP 694): staged, tried out, published at once."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from sqlalchemy import select, update

from buildfarm import clock
from buildfarm.index import names, namespaces, status
from buildfarm.index.model import ChannelEntry, File, Project, Release
from buildfarm.index.session_model import UploadSession
from buildfarm.journal.model import JournalRow
from buildfarm.mirror.upstream import Upstream
from tests.conftest import PUBLIC_URL
from tests.index.uploads import send

TYPE = "application/vnd.pypi.upload.v2+json"
META = {"meta": {"api-version": "2.0"}}


@dataclass
class Publishing:
    """A client of the API over a Flask test client."""

    client: Any

    def call(self, method: str, url: str, body: dict | None = None, **more: Any):
        path = url.removeprefix(PUBLIC_URL)
        if "data" not in more and method == "POST":
            more |= {"data": json.dumps(META | (body or {})), "content_type": TYPE}
        return self.client.open(path, method=method, **more)

    def open(self, name: str = "widget", version: str = "1.0", channel: str = "dev") -> dict:
        answer = self.call("POST", f"/{channel}/upload/", {"name": name, "version": version})
        assert answer.status_code == 201, answer.text
        assert answer.headers["Location"] == answer.json["links"]["session"]
        return answer.json

    def announce(self, session: dict, filename: str, data: bytes, /, **changes: Any):
        body = {
            "filename": filename, "size": len(data), "mechanism": "http-post-bytes",
            "hashes": {"sha256": hashlib.sha256(data).hexdigest()},
        } | changes  # fmt: skip
        return self.call("POST", session["links"]["upload"], body)

    def put(self, session: dict, filename: str, data: bytes) -> dict:
        """Announce, send and complete a file."""
        begun = self.announce(session, filename, data)
        assert (begun.status_code, begun.headers["Retry-After"]) == (202, "1"), begun.text
        url = begun.json["mechanism"]["file_url"]
        sent = self.call("POST", url, data=data, content_type="application/octet-stream")
        assert sent.status_code == 204, sent.text
        done = self.call("POST", begun.json["links"]["complete"])
        assert done.status_code == 201, done.text
        return done.json

    def publish(self, session: dict):
        return self.call("POST", session["links"]["publish"])

    def status(self, session: dict) -> dict:
        return self.call("GET", session["links"]["session"]).json


@pytest.fixture(autouse=True)
def nothing_upstream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Upstream, "rows", lambda _self, _name: None)


@pytest.fixture
def api(house) -> Publishing:
    house.follower.catch_up()
    return Publishing(house.client(house.token("upload:dev", "read:dev")))


def visible(house) -> list[str]:
    with house.database.read() as session:
        return sorted(session.scalars(select(ChannelEntry.filename).where(ChannelEntry.until.is_(None))))


def staged(house) -> set[str]:
    return house.farm.sessions.staging.names()


def test_a_set_is_invisible_until_it_is_published_whole(house, api: Publishing) -> None:
    session = api.open("Widget")
    assert (session["status"], session["mechanisms"]) == ("open", ["http-post-bytes"])
    files = [house.wheel(), house.wheel(tag="py2.py3-none-any")]
    for filename, data in files:
        assert api.put(session, filename, data)["status"] == "completed"
    assert visible(house) == []
    with house.database.read() as read:
        assert read.scalars(select(Project)).all() == read.scalars(select(File)).all() == []
    listed = api.status(session)["files"]
    assert {name: row["status"] for name, row in listed.items()} == {name: "completed" for name, _ in files}
    done = api.publish(session)
    assert (done.status_code, done.json["status"]) == (201, "published")
    assert visible(house) == sorted(name for name, _ in files)
    with house.database.read() as read:
        (row,) = [json.loads(r.body) for r in read.scalars(select(JournalRow)) if r.kind == "upload"]
    assert len(row["files"]) == 2  # one row, so one moment
    house.follower.catch_up()
    for filename, data in files:
        assert api.client.get(f"/dev/files/widget/{filename}").data == data
    assert staged(house) == set()
    assert api.publish(session).status_code == 409
    assert api.call("GET", session["links"]["stage"]).status_code == 404


def test_a_preview_tells_namespaces_where_the_index_does(open_house) -> None:
    house = open_house(index={"namespaces": True})
    with house.database.begin() as write:
        namespaces.add(write, "widget", [], actor="ada")
    api = Publishing(house.client(house.token("admin")))
    session = api.open("widget-core", channel="dev")
    api.put(session, *house.wheel("widget-core"))
    root = session["links"]["stage"]
    asked = {"Accept": "application/vnd.pypi.simple.v1+json"}
    page = api.call("GET", f"{root}widget-core/", headers=asked).json
    assert (page["meta"]["api-version"], page["namespaces"]) == ("1.5", [{"name": "widget", "owned": True}])
    assert api.call("GET", root, headers=asked).json["meta"]["api-version"] == "1.5"


def test_the_preview_is_an_index_for_whoever_knows_its_address(house, api: Publishing) -> None:
    session = api.open()
    filename, data = house.wheel()
    api.put(session, filename, data)
    stranger = Publishing(house.client())
    root = session["links"]["stage"]
    assert "widget" in stranger.call("GET", root).text
    page = stranger.call("GET", f"{root}widget/", headers={"Accept": "application/vnd.pypi.simple.v1+json"})
    (entry,) = page.json["files"]
    assert entry["hashes"]["sha256"] == hashlib.sha256(data).hexdigest()
    assert stranger.call("GET", f"{root}widget/").content_type.startswith("text/html")
    file = f"{root.removesuffix('simple/')}files/widget/{filename}"
    assert stranger.call("GET", file).data == data
    assert stranger.call("GET", file, headers={"Range": "bytes=-4"}).data == data[-4:]
    metadata = stranger.call("GET", f"{file}.metadata").data
    assert hashlib.sha256(metadata).hexdigest() == entry["core-metadata"]["sha256"]
    wrong = root.replace(session["session-token"], "x" * 32)
    assert stranger.call("GET", wrong).status_code == 404
    assert stranger.call("GET", session["links"]["session"]).status_code == 401
    assert stranger.call("POST", root).status_code == 405
    assert api.call("DELETE", session["links"]["session"]).status_code == 204
    assert stranger.call("GET", root).status_code == stranger.call("GET", file).status_code == 404
    assert api.status(session)["status"] == "canceled"
    assert staged(house) == set()


def test_a_second_session_of_a_release_is_led_to_the_first(house, api: Publishing) -> None:
    session = api.open("widget", "1.0")
    again = api.call("POST", "/dev/upload/", {"name": "WIDGET", "version": "1.0.0"})
    assert (again.status_code, again.headers["Location"]) == (409, session["links"]["session"])
    assert again.json["errors"][0]["message"]
    assert again.json["meta"] == META["meta"]
    api.open("widget", "2.0")
    api.call("DELETE", session["links"]["session"])
    fresh = api.open("widget", "1.0")
    assert fresh["session-token"] != session["session-token"]


def test_a_new_name_is_held_for_who_came_first(house, api: Publishing) -> None:
    session = api.open()
    other = Publishing(house.client(house.token("upload:dev")))
    for answer in (
        other.call("POST", "/dev/upload/", {"name": "widget", "version": "2.0"}),
        other.call("GET", session["links"]["session"]),
        send(other.client, *house.wheel()),
    ):
        assert (answer.status_code, answer.json["code"]) == (403, "session.reserved")
    with house.database.begin() as write:
        names.add_local(write, "widget", "widget", actor="test")
    # Of a project that is there, everybody who may upload to it has a part in the session.
    assert other.call("GET", session["links"]["session"]).status_code == 200


def test_rights_are_asked_for_at_every_request(house, api: Publishing) -> None:
    session = api.open()
    file = api.announce(session, *house.wheel()).json
    links = [
        ("GET", session["links"]["session"]),
        ("POST", session["links"]["publish"]),
        ("POST", session["links"]["upload"]),
        ("POST", file["mechanism"]["file_url"]),
        ("POST", file["links"]["complete"]),
        ("DELETE", file["links"]["file-upload-session"]),
        ("DELETE", session["links"]["session"]),
    ]
    reader = Publishing(house.client(house.token("read:dev")))
    for method, url in links:
        assert reader.call(method, url).status_code == 403
        assert Publishing(house.client()).call(method, url).status_code == 401
    with house.database.begin() as write:
        names.add_local(write, "widget", "widget", actor="test")
        status.set_status(write, "widget", "archived", reason="", actor="test")
    for method, url in links:
        body = {"filename": "widget-1.0.tar.gz", "size": 1, "mechanism": "http-post-bytes", "hashes": {}}
        answer = api.call(method, url, body if url == session["links"]["upload"] else None)
        assert answer.status_code in {400, 403}, (method, url)
    assert visible(house) == []


@pytest.mark.parametrize(
    ("changes", "status_code", "code"),
    [
        ({"mechanism": "vnd-acme-post"}, 422, "session.mechanism"),
        ({"hashes": {}}, 400, "session.hashes"),
        ({"hashes": {"md5": "0" * 32}}, 400, "session.hashes"),
        ({"hashes": {"sha256": "0" * 63}}, 400, "session.hashes"),
        ({"hashes": {"shake_128": "00", "sha256": "0" * 64}}, 400, "session.hashes"),
        ({"size": 0}, 413, "file.f-05"),
        ({"size": 2**40}, 413, "file.f-05"),
        ({"size": "1"}, 400, "session.body"),
        ({"filename": "gadget-1.0-py3-none-any.whl"}, 400, "session.other_release"),
        ({"filename": "widget-2.0-py3-none-any.whl"}, 400, "session.other_release"),
        ({"filename": "../widget.whl"}, 400, "file.n-01"),
        ({"filename": "widget.exe"}, 400, "file.n-02"),
    ],
)
def test_what_cannot_be_announced(house, api: Publishing, changes: dict, status_code: int, code: str) -> None:
    session = api.open()
    answer = api.announce(session, *house.wheel(), **changes)
    assert (answer.status_code, answer.json["code"]) == (status_code, code)
    assert answer.content_type == "application/problem+json"
    assert api.status(session)["files"] == {}


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'{"meta": {}}', b'{"meta": {"api-version": "3.0"}}', b"\xff"]
)
def test_bodies_that_are_none(api: Publishing, body: bytes) -> None:
    answer = api.client.post("/dev/upload/", data=body, content_type=TYPE)
    assert (answer.status_code, answer.json["code"]) == (400, "session.body")
    assert api.client.post("/dev/upload/", data=body, content_type="text/plain").status_code == 400


@pytest.mark.parametrize(
    "case", ["other bytes", "fewer bytes", "more bytes", "no bytes", "broken", "wrong hash"]
)
def test_a_file_that_fails_is_in_error_and_blocks_the_set(house, api: Publishing, case: str) -> None:
    session = api.open()
    filename, data = house.wheel()
    broken = data[:-3]
    changes: dict[str, Any] = {}
    if case == "broken":
        data, sent = broken, broken
    else:
        sent = {"fewer bytes": broken, "more bytes": data + b"x", "other bytes": b"x" * len(data)}.get(
            case, data
        )
    if case == "wrong hash":
        changes["hashes"] = {"sha256": hashlib.sha256(data).hexdigest(), "md5": "0" * 32}
    begun = api.announce(session, filename, data, **changes).json
    if case != "no bytes":
        answer = api.call("POST", begun["mechanism"]["file_url"], data=sent)
        assert answer.status_code == (413 if case == "more bytes" else 204)
    done = api.call("POST", begun["links"]["complete"])
    assert done.status_code == 400
    assert done.json["title"]
    listed = api.status(session)["files"][filename]
    assert (listed["status"], len(listed["notices"])) == ("error", 1)
    answer = api.publish(session)
    assert (answer.status_code, answer.json["code"]) == (409, "session.unfinished")
    assert answer.json["errors"] == [{"source": filename, "message": "error"}]
    assert visible(house) == []
    assert staged(house) == set()
    # Deleted and begun anew it goes through.
    assert api.call("DELETE", begun["links"]["file-upload-session"]).status_code == 204
    assert api.call("GET", begun["links"]["file-upload-session"]).json["status"] == "canceled"
    api.put(session, *house.wheel())
    assert api.publish(session).status_code == 201


def test_a_file_that_could_not_be_checked_may_be_completed_once_more(house, api: Publishing) -> None:
    filename, data = house.wheel("widget")
    session = api.open()
    begun = api.announce(session, filename, data)
    api.call("POST", begun.json["mechanism"]["file_url"], data=data, content_type="application/octet-stream")
    with pytest.MonkeyPatch.context() as crashing:
        crashing.setattr("buildfarm.wheels.validate.sandbox.ask", lambda *_: b"")
        refused = api.call("POST", begun.json["links"]["complete"])
        by_the_old_way = send(api.client, *house.wheel("gadget"))
    assert (refused.status_code, "V-01" in refused.text) == (503, True)
    assert (by_the_old_way.status_code, "V-01" in by_the_old_way.text) == (503, True)
    assert api.status(session)["files"][filename]["status"] == "pending"
    assert api.call("POST", begun.json["links"]["complete"]).status_code == 201
    assert api.publish(session).status_code == 201


def test_a_file_is_announced_once_at_a_time_and_never_over_a_published_one(house, api: Publishing) -> None:
    filename, data = house.wheel()
    session = api.open()
    api.announce(session, filename, data)
    again = api.announce(session, filename, data)
    assert (again.status_code, again.json["code"]) == (409, "file.exists")
    other_session = api.open(version="1.1")
    send(api.client, *house.wheel(version="1.1"))
    late = api.announce(other_session, *house.wheel(version="1.1"))
    assert (late.status_code, late.json["title"][:19]) == (409, "File already exists")


def test_a_name_that_was_taken_meanwhile_keeps_the_whole_set_back(house, api: Publishing) -> None:
    session = api.open()
    api.put(session, *house.wheel())
    api.put(session, *house.wheel(tag="py2.py3-none-any"))
    send(api.client, *house.wheel(code="x = 2\n"))
    before = visible(house)
    answer = api.publish(session)
    assert (answer.status_code, answer.json["code"]) == (409, "file.exists")
    assert visible(house) == before
    assert api.status(session)["status"] == "open"
    # The other file may still go, once the one that lost is out.
    url = api.status(session)["files"][house.wheel()[0]]["link"]
    assert api.call("DELETE", url).status_code == 204
    assert api.publish(session).status_code == 201
    assert len(visible(house)) == 2


def test_two_publish_at_once_and_one_does(each_house) -> None:
    token = each_house.token("upload:dev")
    api = Publishing(each_house.client(token))
    session = api.open()
    for tag in ("py3-none-any", "py2.py3-none-any"):
        api.put(session, *each_house.wheel(tag=tag))
    with ThreadPoolExecutor(4) as pool:
        calls = [
            pool.submit(Publishing(each_house.client(token)).publish, session) for _ in range(4)
        ]  # fmt: skip
        codes = sorted(call.result().status_code for call in calls)
    assert codes == [201, 409, 409, 409]
    with each_house.database.read() as read:
        assert len(read.scalars(select(ChannelEntry)).all()) == 2
        assert len(read.scalars(select(Release)).all()) == 1
        assert len([row for row in read.scalars(select(JournalRow)) if row.kind == "upload"]) == 1


def test_a_session_is_extended_and_ends(house, api: Publishing) -> None:
    session = api.open()
    longer = api.call("POST", session["links"]["extend"], {"extend-for": 3600}).json
    assert longer["expires-at"] > session["expires-at"]
    bounded = api.call("POST", session["links"]["extend"], {"extend-for": 10**9})
    assert bounded.status_code == 200
    assert bounded.json["expires-at"] < clock.iso(clock.now() + timedelta(days=31))
    api.put(session, *house.wheel())
    assert house.farm.sessions.expire() == 0
    assert len(staged(house)) == 1
    with house.database.begin() as write:
        write.execute(update(UploadSession).values(expires_at=clock.now() - timedelta(seconds=1)))
    answer = api.publish(session)
    assert (answer.status_code, answer.json["code"]) == (409, "session.ended")
    assert house.farm.sessions.expire() == 1
    assert staged(house) == set()
    assert api.status(session)["status"] == "canceled"
    with house.database.begin() as write:
        write.execute(update(UploadSession).values(ended_at=clock.now() - timedelta(days=8)))
    house.farm.sessions.expire()
    assert api.call("GET", session["links"]["session"]).status_code == 404


def test_an_empty_session_is_not_published(api: Publishing) -> None:
    answer = api.publish(api.open())
    assert (answer.status_code, answer.json["code"]) == (409, "session.empty")


def test_attestations_are_verified_when_a_file_is_completed(house, api: Publishing) -> None:
    session = api.open()
    filename, data = house.wheel()
    begun = api.announce(session, filename, data).json
    api.call("POST", begun["mechanism"]["file_url"], data=data)
    sent = api.call(
        "POST", begun["mechanism"]["attestations_url"], data=b"[]", content_type="application/json"
    )
    assert sent.status_code == 204
    done = api.call("POST", begun["links"]["complete"])
    assert (done.status_code, done.json["code"]) == (400, "upload.attestations")


@pytest.mark.system
def test_pip_installs_from_the_preview_also_after_the_server_was_killed(house, serve, tmp_path: Path) -> None:
    with house.database.begin() as session:
        names.add_local(session, "widget", "widget", actor="test")
    url, token = serve(house), house.token("upload:dev")

    class Remote(Publishing):
        def call(self, method: str, url: str, body: dict | None = None, **more: Any):
            headers = {"Content-Type": more.pop("content_type", TYPE)}
            data = more.pop("data", json.dumps(META | (body or {})).encode())
            answer = requests.request(
                method, base + url.removeprefix(PUBLIC_URL), data=data, headers=headers, auth=("x", token),
                timeout=60,
            )  # fmt: skip
            made = json.loads(answer.content) if answer.content else None
            answer.__dict__["json"] = made
            return answer

    base = url
    api = Remote(None)
    session = api.open()
    api.put(session, *house.wheel())
    serve.kill()
    base = serve(house)
    stage = base + session["links"]["stage"].removeprefix(PUBLIC_URL)
    target = tmp_path / "target"
    pip = [sys.executable, "-m", "pip", "install", "--isolated", "--no-cache-dir", "--index-url", stage]
    done = subprocess.run(
        [*pip, "--target", target, "widget"], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert (target / "widget" / "__init__.py").is_file()
    assert visible(house) == []
    assert api.publish(session).status_code == 201
    assert visible(house) == [house.wheel()[0]]
