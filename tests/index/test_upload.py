"""Uploads over HTTP: the form that twine, uv and flit send, and every way it can be wrong."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tracemalloc
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests
from sqlalchemy import select

from buildfarm.access import users
from buildfarm.index import names
from buildfarm.index.model import ChannelEntry, File, Project, Release
from buildfarm.journal.model import JournalRow
from buildfarm.wheels.rules import RULES_VERSION
from tests.index.uploads import URL, body_of, fields_of, send


@pytest.fixture
def uploader(house):
    house.follower.catch_up()
    return house.client(house.token("upload:dev", "read:dev"))


@pytest.fixture
def admin(house):
    return house.client(house.token("admin"))


@pytest.fixture(autouse=True)
def nothing_upstream(house, monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """Names that the upstream index knows."""
    known: dict[str, object] = {}
    monkeypatch.setattr(house.farm.upstream, "rows", known.get)
    return known


def rows(house, kind: str) -> list[dict[str, Any]]:
    with house.database.read() as session:
        found = session.scalars(
            select(JournalRow.body).where(JournalRow.kind == kind).order_by(JournalRow.serial)
        )
        return [json.loads(body) for body in found]


@pytest.mark.parametrize("url", [URL, "/dev/legacy"])
@pytest.mark.parametrize("last", [True, False])
def test_a_wheel_is_on_the_page(house, uploader, url: str, *, last: bool) -> None:
    filename, data = house.wheel()
    answer = send(uploader, filename, data, url=url, last=last)
    assert (answer.status_code, answer.data) == (200, b"")
    house.follower.catch_up()
    page = json.loads(
        uploader.get("/dev/simple/widget/", headers={"Accept": "application/vnd.pypi.simple.v1+json"}).data
    )
    (entry,) = page["files"]
    assert (entry["filename"], entry["requires-python"]) == (filename, ">=3.9")
    assert entry["hashes"]["sha256"] == hashlib.sha256(data).hexdigest()
    assert uploader.get(f"/dev/files/widget/{filename}").data == data
    assert uploader.get(f"/dev/files/widget/{filename}.metadata").data.startswith(
        b"Metadata-Version: 2.1\nName: widget"
    )
    (row,) = rows(house, "upload")
    assert (row["project"], row["channel"], row["version"]) == ("widget", "dev", "1.0")
    assert row["files"] == [{"filename": filename, "sha256": hashlib.sha256(data).hexdigest()}]
    assert row["actor"].startswith("tok_")
    with house.database.read() as session:
        assert 0 < session.get_one(Project, "widget").local_since <= row["serial"]


def test_what_the_validator_only_notes_is_stored_with_the_file(house, uploader, admin) -> None:
    filename, data = house.wheel(version="1.0+local")
    assert send(uploader, filename, data).status_code == 200
    with house.database.read() as session:
        (finding,) = session.get_one(File, filename).findings
    assert finding == {"rule": "N-06", "text": "1.0+local is a local version.", "entry": ""}
    (shown,) = admin.get("/api/v1/releases/widget/1.0+local").json["files"]
    assert (shown["findings"], shown["refused"]) == ([finding], None)
    assert shown["check"]["rules"] == RULES_VERSION
    assert shown["check"]["milliseconds"] >= 0
    assert "packaging" in shown["check"]["tools"]


def test_identical_bytes_again_change_nothing(house, uploader) -> None:
    filename, data = house.wheel()
    for _ in range(3):
        assert send(uploader, filename, data).status_code == 200
    assert len(rows(house, "upload")) == 1


def test_other_bytes_are_refused_in_the_words_that_clients_know(house, uploader) -> None:
    filename, data = house.wheel()
    send(uploader, filename, data)
    filename, other = house.wheel(code="x = 2\n")
    answer = send(uploader, filename, other)
    assert answer.status_code == 409
    assert answer.status.split(" ", 1)[1].startswith("File already exists")
    assert answer.json["title"].startswith("File already exists")
    assert answer.content_type == "application/problem+json"
    assert answer.json["code"] == "file.exists"
    house.follower.catch_up()
    assert uploader.get(f"/dev/files/widget/{filename}").data == data


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"name": "gadget"}, "file.f-04"),
        ({"version": "2.0"}, "file.f-04"),
        ({"version": "none"}, "file.f-04"),
        ({"sha256_digest": "0" * 64}, "file.f-03"),
        ({"blake2_256_digest": "0" * 64}, "file.f-03"),
        ({"md5_digest": "0" * 32}, "file.f-03"),
        ({"name": None}, "upload.form"),
        ({"version": ""}, "upload.form"),
        ({"filetype": "sdist"}, "upload.form"),
        ({"filetype": "bdist_egg"}, "upload.form"),
        ({"filetype": None}, "upload.form"),
        ({"protocol_version": "2"}, "upload.form"),
        ({":action": "submit"}, "upload.form"),
        ({"attestations": "[]"}, "upload.attestations"),
        ({"attestations": "none"}, "upload.attestations"),
        ({"attestations": '[{"version": 1}]'}, "bundle.malformed"),
    ],
)
def test_what_the_form_says_must_agree_with_the_file(
    house, uploader, changes: dict[str, str | None], code: str
) -> None:
    answer = send(uploader, *house.wheel(), **changes)
    assert (answer.status_code, answer.json["code"]) == (400, code)
    assert answer.status == f"400 {answer.json['title']}"[: len(answer.status)]
    with house.database.read() as session:
        assert session.scalars(select(File)).all() == session.scalars(select(Project)).all() == []
    assert not list((house.farm.blobs.root / "tmp").iterdir())


def test_every_digest_that_clients_send_is_compared_and_none_is_needed(house, uploader) -> None:
    filename, data = house.wheel()
    right = {
        "blake2_256_digest": hashlib.blake2b(data, digest_size=32).hexdigest(),
        "md5_digest": hashlib.md5(data, usedforsecurity=False).hexdigest(),
    }
    assert send(uploader, filename, data, **right).status_code == 200
    filename, data = house.wheel(version="1.1")
    none = {"sha256_digest": None, "metadata_version": None, "pyversion": None, ":action": None}
    assert send(uploader, filename, data, **none).status_code == 200


def test_a_broken_wheel_is_refused_by_its_rule(house, uploader) -> None:
    filename, data = house.wheel()
    answer = send(uploader, filename, data[:-3])
    assert answer.status_code == 400
    assert answer.json["code"].startswith("file.z-")
    assert ":" in answer.json["title"]


@pytest.mark.parametrize(
    ("parts", "boundary"),
    [
        ([("name", None, b"widget")], "limit"),
        ([("content", "a.whl", b"x"), ("content", "b.whl", b"x")], "limit"),
        ([("content", None, b"text")], "limit"),
        ([("content", "a.whl", b"x")], "other"),
        ([], "limit"),
        (
            [
                ("content", "", b"x"),
                ("name", None, b"w"),
                ("version", None, b"1"),
                ("filetype", None, b"sdist"),
            ],
            "limit",
        ),
        (
            [
                ("content", "../../x.whl", b"x"),
                ("name", None, b"x"),
                ("version", None, b"1"),
                ("filetype", None, b"sdist"),
            ],
            "limit",
        ),
        (
            [
                ("content", "a\0.whl", b"x"),
                ("name", None, b"a"),
                ("version", None, b"1"),
                ("filetype", None, b"bdist_wheel"),
            ],
            "limit",
        ),
    ],
)
def test_forms_that_are_no_upload(
    house, uploader, parts: list[tuple[str, str | None, bytes]], boundary: str
) -> None:
    answer = uploader.post(URL, data=body_of(parts), content_type=f"multipart/form-data; boundary={boundary}")
    assert answer.status_code == 400
    assert answer.json["code"] in {"upload.form", "file.n-01", "file.n-02"}
    assert not list((house.farm.blobs.root / "tmp").iterdir())


@pytest.mark.parametrize(
    "content_type", ["application/json", "multipart/form-data", "multipart/form-data; boundary=ü", "", "x"]
)
def test_bodies_that_are_no_form(uploader, content_type: str) -> None:
    assert uploader.post(URL, data=b"{}", content_type=content_type).status_code == 400


def test_a_signature_of_the_pgp_age_is_dropped(house, uploader) -> None:
    filename, data = house.wheel()
    parts = [(name, None, value.encode()) for name, value in fields_of(filename, data).items()]
    parts += [("gpg_signature", f"{filename}.asc", b"----"), ("content", filename, data)]
    answer = uploader.post(URL, data=body_of(parts), content_type="multipart/form-data; boundary=limit")
    assert answer.status_code == 200


# Who may --------------------------------------------------------------------------------------------


def test_strangers_and_people_without_the_right(house, uploader) -> None:
    filename, data = house.wheel()
    answer = send(house.client(), filename, data)
    assert (answer.status_code, answer.headers["WWW-Authenticate"][:5]) == (401, "Basic")
    assert send(house.client("bft_wrong"), filename, data).status_code == 401
    for scope in ("read:dev", "upload:staging", "build"):
        assert send(house.client(house.token(scope)), filename, data).status_code == 403
    assert send(house.client(house.token("upload:*")), filename, data, url="/none/legacy/").status_code == 404
    assert uploader.get(URL).status_code == 405
    assert rows(house, "upload") == []


def test_a_browser_session_is_no_credential_for_a_form_of_a_foreign_page(house, uploader) -> None:
    with house.database.begin() as session:
        users.add_user(session, "ada", "correct horse", is_admin=True, actor="test")
        value = users.open_session(session, users.check_password(session, "ada", "correct horse"))
    client = house.app.test_client()
    client.set_cookie("buildfarm_session", value)
    assert send(client, *house.wheel()).status_code == 401


def test_a_name_of_a_source_is_not_uploaded(house, uploader, admin) -> None:
    house.source("widget", projects=("widget",))
    answer = send(uploader, *house.wheel())
    assert (answer.status_code, answer.json["code"]) == (403, "project.not_granted")
    assert "widget" in answer.status
    assert send(admin, *house.wheel()).status_code == 200


def test_a_name_that_upstream_has_is_an_administrators_to_take(
    house, uploader, admin, nothing_upstream
) -> None:
    nothing_upstream["widget"] = {}
    answer = send(uploader, *house.wheel())
    assert (answer.status_code, answer.json["code"]) == (409, "project.upstream")
    assert send(admin, *house.wheel()).status_code == 200
    # From then on the name is local, for everybody.
    assert send(uploader, *house.wheel(version="1.1")).status_code == 200
    assert len(rows(house, "project.local")) == 1


def test_when_nobody_can_say_whose_a_name_is_it_is_not_taken(house, uploader, monkeypatch) -> None:
    monkeypatch.undo()
    answer = send(uploader, *house.wheel())
    assert (answer.status_code, answer.json["code"]) == (503, "mirror.unreachable")
    assert rows(house, "upload") == []


# Limits ---------------------------------------------------------------------------------------------


def test_a_body_over_the_limit_is_refused_before_it_is_read(open_house) -> None:
    house = open_house(limits={"upload_bytes": 1000})
    client = house.client(house.token("admin"))
    read: list[int] = []

    class Body:
        def read(self, size: int = -1) -> bytes:
            read.append(size)
            return b""

    answer = client.post(
        URL,
        environ_overrides={"wsgi.input": Body(), "CONTENT_LENGTH": str(2**31)},
    )
    assert (answer.status_code, answer.json["code"]) == (413, "file.f-05")
    assert read == []
    big = send(client, "widget-1.0-py3-none-any.whl", b"x" * 1001)
    assert big.status_code == 413
    assert not list((house.farm.blobs.root / "tmp").iterdir())


def test_a_full_disk_is_said_before_the_body_is_read(house, admin, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage("/")._replace(free=300 << 20)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage)
    answer = send(admin, "widget-1.0-py3-none-any.whl", b"x" * (50 << 20))
    assert (answer.status_code, answer.json["code"]) == (507, "storage.full")
    assert send(admin, *house.wheel()).status_code == 200


def test_text_has_a_budget_too(house, admin) -> None:
    filename, data = house.wheel()
    many = (
        [("description", None, b"x" * (9 << 20))],
        [(f"f{n}", None, b"x" * (1 << 20)) for n in range(9)],
        [(f"f{n}", None, b"") for n in range(600)],
    )
    for parts in many:
        body = body_of([*parts, ("content", filename, data)])
        answer = admin.post(URL, data=body, content_type="multipart/form-data; boundary=limit")
        assert answer.status_code == 413


def test_memory_stays_flat(house, admin) -> None:
    class Long:
        """64 MiB of a file, made as it is read."""

        head = body_of([("content", "widget-1.0-py3-none-any.whl", b"")]).removesuffix(b"\r\n--limit--\r\n")
        left = 64 << 20

        def read(self, size: int = -1) -> bytes:
            part, self.head = self.head, b""
            part = part or b"\0" * min(self.left, size)
            self.left -= len(part)
            return part

    body = Long()
    tracemalloc.start()
    answer = admin.post(
        URL,
        environ_overrides={
            "wsgi.input": body,
            "CONTENT_LENGTH": str((64 << 20) + len(body.head)),
            "CONTENT_TYPE": "multipart/form-data; boundary=limit",
        },
    )
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert answer.status_code == 400  # it has no end
    assert body.left <= 0
    assert peak < 24 << 20


# At once --------------------------------------------------------------------------------------------


def test_the_same_file_many_times_at_once_is_one(each_house, monkeypatch) -> None:
    monkeypatch.setattr(each_house.farm.upstream, "rows", lambda _name: None)
    token = each_house.token("upload:dev")
    one, other = each_house.wheel(), each_house.wheel(code="x = 2\n")
    with ThreadPoolExecutor(6) as pool:
        calls = [pool.submit(send, each_house.client(token), *pair) for pair in [one, other] * 3]
        answers = [call.result() for call in calls]
    assert sorted(answer.status_code for answer in answers) == [200, 200, 200, 409, 409, 409]
    assert len(rows(each_house, "upload")) == 1
    with each_house.database.read() as session:
        assert (
            len(session.scalars(select(ChannelEntry)).all())
            == len(session.scalars(select(Release)).all())
            == 1
        )


# Real clients ---------------------------------------------------------------------------------------


def run(command: list[Any], folder: Path, **more: str) -> subprocess.CompletedProcess[str]:
    env = {"PATH": os.environ["PATH"], "HOME": str(folder), "COLUMNS": "400", "NO_COLOR": "1", **more}
    return subprocess.run(
        list(map(str, command)), env=env, capture_output=True, text=True, check=False, timeout=120
    )


@pytest.mark.system
def test_twine_and_uv_publish_and_understand_refusals(house, serve, programs: Path, tmp_path: Path) -> None:
    with house.database.begin() as session:
        names.add_local(session, "widget", "widget", actor="test")
    url, token = serve(house), house.token("upload:dev", "read:dev")
    good = {}
    for version in ("1.0", "1.1"):
        filename, data = house.wheel(version=version)
        (tmp_path / filename).write_bytes(data)
        good[version] = tmp_path / filename
    with_twine = [
        programs / "twine",
        "upload",
        "--non-interactive",
        "--disable-progress-bar",
        "--repository-url",
        f"{url}/dev/legacy/",
    ]
    with_uv = [sys.executable, "-m", "uv", "publish", "--no-config", "--publish-url", f"{url}/dev/legacy/"]
    login = {
        "TWINE_USERNAME": "__token__",
        "TWINE_PASSWORD": token,
        "UV_PUBLISH_USERNAME": "__token__",
        "UV_PUBLISH_PASSWORD": token,
        "UV_CACHE_DIR": str(tmp_path / "cache"),
    }
    for command, version in ((with_twine, "1.0"), (with_uv, "1.1")):
        for _ in range(2):  # the second time nothing changes, and that is a success
            done = run([*command, good[version]], tmp_path, **login)
            assert done.returncode == 0, done.stdout + done.stderr
        page = requests.get(f"{url}/dev/simple/widget/", auth=("__token__", token), timeout=20)
        assert good[version].name in page.text  # visible when the client says so

    filename, data = house.wheel(version="1.0", code="x = 3\n")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / filename).write_bytes(data)
    for command in (with_twine, with_uv):
        done = run([*command, tmp_path / "other" / filename], tmp_path, **login)
        assert done.returncode != 0
        assert "File already exists" in done.stdout + done.stderr
    skipped = run([*with_uv, "--check-url", f"{url}/dev/simple/", good["1.0"]], tmp_path, **login)
    assert skipped.returncode == 0, skipped.stderr

    bad = tmp_path / "other" / "widget-9.0-py3-none-any.whl"
    bad.write_bytes(house.wheel(version="9.0", tag="py2-none-any")[1])  # W-03: the tags disagree
    nobody = login | {"TWINE_PASSWORD": "bft_wrong", "UV_PUBLISH_PASSWORD": "bft_wrong"}
    for command in (with_twine, with_uv):
        assert "401" in "".join(
            run([*command, good["1.0"]], tmp_path, **nobody).__dict__[out] for out in ("stdout", "stderr")
        )
    done = run([*with_uv, bad], tmp_path, **login)
    assert done.returncode != 0
    assert "W-03" in done.stderr


@pytest.mark.system
def test_refusals_reach_clients_that_are_still_sending(house, serve) -> None:
    url, token = serve(house), house.token("read:dev")
    data = {"name": "widget"}
    files = {"content": ("widget-1.0-py3-none-any.whl", b"x" * (20 << 20))}
    for password, status in ((token, 403), ("bft_wrong", 401)):
        answer = requests.post(f"{url}/dev/legacy/", auth=("x", password), data=data, files=files, timeout=60)
        assert answer.status_code == status
        assert answer.reason == answer.json()["title"]
    with socket.create_connection(("127.0.0.1", int(url.rsplit(":", 1)[1])), timeout=20) as connection:
        head = (
            "POST /dev/legacy/ HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 9999999999\r\n"
        )
        connection.sendall(
            head.encode() + b"Authorization: Bearer " + house.token("admin").encode() + b"\r\n\r\n"
        )
        answer = b""
        while b"\r\n\r\n" not in answer.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n"):
            answer += connection.recv(65536)
        assert b"HTTP/1.1 413 A file of this index may have" in answer


@pytest.mark.system
def test_a_chunked_body_is_taken(house, serve) -> None:
    url, token = serve(house), house.token("admin")
    filename, data = house.wheel()
    parts = [(name, None, value.encode()) for name, value in fields_of(filename, data).items()]
    body = body_of([("content", filename, data), *parts])

    def pieces() -> Iterable[bytes]:
        for start in range(0, len(body), 100):
            yield body[start : start + 100]

    headers = {"Content-Type": "multipart/form-data; boundary=limit"}
    answer = requests.post(
        f"{url}/dev/legacy/", auth=("x", token), data=pieces(), headers=headers, timeout=60
    )
    assert answer.status_code == 200
