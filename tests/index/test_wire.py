"""The index over HTTP: the application by its test client, then by a real server on a loopback port."""

from __future__ import annotations

import base64
import gzip
import hashlib
import http.client
import io
import json
import socket
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import requests

JSON = "application/vnd.pypi.simple.v1+json"
HTML = "application/vnd.pypi.simple.v1+html"
WHEEL = "my_widget-1.0-py3-none-any.whl"
SDIST = "my_widget-1.0.tar.gz"


@pytest.fixture
def filled(house, put):
    put(
        house,
        WHEEL,
        b"0123456789",
        metadata=b"Metadata-Version: 2.1\n",
        provenance=b'{"version":1}',
        requires_python=">=3.9",
    )
    put(house, SDIST, b"sdist bytes")
    return house


@pytest.fixture
def reader(filled):
    return filled.client(filled.token("read:dev"))


def basic(name: str, secret: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{name}:{secret}".encode()).decode()}


# A, B, C: pages -------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/dev/simple/", "/dev/simple/my-widget/"])
@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        (JSON, JSON),
        (HTML, HTML),
        ("text/html", "text/html; charset=utf-8"),
        ("*/*", "text/html; charset=utf-8"),
        (f"{JSON}, {HTML}; q=0.1, text/html; q=0.01", JSON),
        ("application/vnd.pypi.simple.latest+json", JSON),
    ],
)
def test_pages_speak_what_is_asked(reader, path: str, accept: str, content_type: str) -> None:
    answer = reader.get(path, headers={"Accept": accept})
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, content_type)
    assert answer.headers["Cache-Control"] == "max-age=0, must-revalidate, private"
    assert "Accept" in answer.headers["Vary"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Content-Security-Policy"] == "default-src 'none'"
    head = reader.head(path, headers={"Accept": accept})
    same = {name: value for name, value in answer.headers if name != "X-Request-ID"}
    assert {name: value for name, value in head.headers if name != "X-Request-ID"} == same
    assert head.data == b""
    again = reader.get(path, headers={"Accept": accept, "If-None-Match": answer.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")
    assert "Content-Type" not in again.headers
    assert again.headers["Vary"] == answer.headers["Vary"]


def test_the_format_parameter_is_for_people_in_a_browser(reader) -> None:
    assert (
        reader.get(f"/dev/simple/?format={JSON}", headers={"Accept": "text/html"}).headers["Content-Type"]
        == JSON
    )
    assert reader.get("/dev/simple/?format=xml").status_code == 406


def test_pages_are_compressed_for_those_who_take_it(reader) -> None:
    plain = reader.get("/dev/simple/my-widget/", headers={"Accept": JSON})
    packed = reader.get(
        "/dev/simple/my-widget/", headers={"Accept": JSON, "Accept-Encoding": "gzip, deflate"}
    )
    assert packed.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(packed.data) == plain.data
    assert packed.headers["ETag"] != plain.headers["ETag"]


def test_the_page_lists_what_is_served(reader) -> None:
    answer = reader.get("/dev/simple/my-widget/", headers={"Accept": JSON})
    page = answer.json or json.loads(answer.data)
    assert page["meta"]["api-version"] == "1.4"
    assert str(page["meta"]["_last-serial"]) == answer.headers["X-PyPI-Last-Serial"]
    assert page["versions"] == ["1.0"]
    assert [entry["filename"] for entry in page["files"]] == [WHEEL, SDIST]
    for entry in page["files"]:
        url = requests.compat.urljoin("http://x/dev/simple/my-widget/", entry["url"]).removeprefix("http://x")
        assert url == f"/dev/files/my-widget/{entry['filename']}"
        body = reader.get(url)
        assert body.status_code == 200
        assert (hashlib.sha256(body.data).hexdigest(), len(body.data)) == (
            entry["hashes"]["sha256"],
            entry["size"],
        )
        if entry["core-metadata"]:
            metadata = reader.get(url + ".metadata").data
            assert hashlib.sha256(metadata).hexdigest() == entry["core-metadata"]["sha256"]
        assert reader.get(url + ".metadata").status_code == (200 if entry["core-metadata"] else 404)
    assert page["files"][0]["provenance"] == f"http://farm.example/dev/files/my-widget/{WHEEL}.provenance"
    listed = json.loads(reader.get("/dev/simple/", headers={"Accept": JSON}).data)
    assert listed["projects"] == [{"name": "my-widget"}]


@pytest.mark.parametrize("method", ["post", "put", "delete", "patch"])
def test_pages_and_files_are_only_read(reader, method: str) -> None:
    for path in ("/dev/simple/", "/dev/simple/my-widget/", f"/dev/files/my-widget/{WHEEL}"):
        answer = getattr(reader, method)(path)
        assert (answer.status_code, answer.headers["Allow"]) == (405, "GET, HEAD")


def test_redirects_stay_here(reader) -> None:
    answer = reader.get("/dev/simple/My.Widget?x=1")
    assert (answer.status_code, answer.headers["Location"]) == (301, "my-widget/?x=1")
    assert reader.get("/dev/simple").headers["Location"] == "simple/"


# D: files -------------------------------------------------------------------------------------------


def test_files_are_resumed_and_kept_for_ever(reader) -> None:
    path = f"/dev/files/my-widget/{WHEEL}"
    whole = reader.get(path)
    assert whole.headers["Cache-Control"] == "max-age=31536000, immutable, private"
    moment = int(hashlib.sha256(b"0123456789").hexdigest()[:8], 16) >> 1
    assert whole.headers["ETag"] == f'"{moment:x}-a"'
    assert (whole.headers["Content-Length"], whole.headers["Accept-Ranges"]) == ("10", "bytes")
    assert whole.headers["Content-Type"] == "application/octet-stream"
    assert reader.get(f"/dev/files/my-widget/{SDIST}").headers["Content-Type"] == "application/gzip"
    for wanted, data in (
        ("bytes=2-4", b"234"),
        ("bytes=7-", b"789"),
        ("bytes=-2", b"89"),
        ("bytes=0-0", b"0"),
    ):
        part = reader.get(path, headers={"Range": wanted})
        assert (part.status_code, part.data, part.headers["Content-Length"]) == (206, data, str(len(data)))
    beyond = reader.get(path, headers={"Range": "bytes=10-"})
    assert (beyond.status_code, beyond.headers["Content-Range"]) == (416, "bytes */10")
    assert reader.get(path, headers={"Range": "bytes=0-1,4-5"}).data == b"0123456789"
    stale = reader.get(path, headers={"Range": "bytes=5-", "If-Range": '"other"'})
    assert (stale.status_code, stale.data) == (200, b"0123456789")
    assert reader.head(path).headers["Accept-Ranges"] == "bytes"


def test_provenance_and_bundle_are_beside_the_file(reader) -> None:
    for suffix, kind in (
        (".provenance", "application/vnd.pypi.integrity.v1+json"),
        (".sigstore.json", "application/vnd.dev.sigstore.bundle.v0.3+json"),
    ):
        answer = reader.get(f"/dev/files/my-widget/{WHEEL}{suffix}")
        assert (answer.status_code, answer.headers["Content-Type"]) == (200, kind)
        assert reader.get(f"/dev/files/my-widget/{SDIST}{suffix}").status_code == 404


# E: readers -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "/dev/simple/",
        "/dev/simple/my-widget/",
        "/dev/simple/none/",
        f"/dev/files/my-widget/{WHEEL}",
        "/none/simple/",
        f"/dev/files/my-widget/{WHEEL}.metadata",
        "/dev/files/x/y",
        "/dev/simple",
    ],
)
def test_strangers_learn_nothing(filled, path: str) -> None:
    answers = []
    for headers in (
        {},
        basic("u", ""),
        basic("__token__", "bft_wrong"),
        basic("eve", "guess"),
        {"Authorization": "x"},
    ):
        answer = filled.client().get(path, headers=headers)
        assert answer.headers["WWW-Authenticate"].startswith('Basic realm="buildfarm"')
        answers.append((answer.status_code, answer.data))
    assert {status for status, _ in answers} == {401}
    assert len({body for _, body in answers}) == 1


def test_a_refusal_without_credentials_asks_no_database(filled, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("webapp.verdict.FRESH_S", 600.0)  # however long this takes
    filled.client().get("/dev/simple/")  # which channels are public is asked once in so long
    monkeypatch.setattr(type(filled.database), "read", lambda _self: pytest.fail("the database was asked"))
    assert filled.client().get("/dev/simple/").status_code == 401
    assert filled.client().get("/dev/simple/", headers=basic("__token__", "bft_mistyped")).status_code == 401


def test_known_readers_get_their_channels_alone(filled) -> None:
    other = filled.client(filled.token("read:stable"))
    assert other.get("/dev/simple/my-widget/").status_code == 403
    assert other.get("/dev/simple/none/").status_code == 403
    assert other.get("/stable/simple/").status_code == 200
    assert other.get("/stable/simple/my-widget/").status_code == 404
    assert filled.client(filled.token("upload:dev")).get("/dev/simple/").status_code == 403
    assert filled.client(filled.token("read:*")).get("/none/simple/").status_code == 404


def test_any_user_name_goes_with_a_token_and_bearer_too(filled) -> None:
    token = filled.token("read:dev")
    for headers in (basic("__token__", token), basic("ada", token), {"Authorization": f"Bearer {token}"}):
        assert filled.client().get("/dev/simple/", headers=headers).status_code == 200


# A real server --------------------------------------------------------------------------------------


def raw(url: str, target: bytes, token: str, *, version: bytes = b"1.1") -> tuple[int, bytes]:
    """One request whose target is sent as it is."""
    port = int(url.rsplit(":", 1)[1])
    credential = base64.b64encode(f"x:{token}".encode())
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(
            b"GET " + target + b" HTTP/" + version + b"\r\nHost: farm.example\r\nConnection: close\r\n"
            b"Authorization: Basic " + credential + b"\r\n\r\n"
        )
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
    return int(answer.split(b" ", 2)[1]), answer


@pytest.mark.system
def test_a_real_server_answers_as_the_decision_says(filled, serve) -> None:
    url, token = serve(filled), filled.token("read:dev")
    assert raw(url, b"/dev/simple/my-widget/", token)[0] == 200
    assert raw(url, b"http://farm.example/dev/simple/my-widget/", token)[0] == 200
    for target in (
        b"/dev/simple/%00/",
        b"/dev/simple/..%2f..%2fetc/",
        b"/dev/simple/my-widget%2findex.json",
        b"/dev/simple/%2e%2e/stable/",
        b"/dev/files/my-widget/..%2f..%2fserial",
        b"/dev/simple/" + b"x" * 5000 + b"/",
        b"/dev/simple/%ff/",
        b"/dev/simple/a;b/",
        b"/dev/files/%2e%2e/%2e%2e/etc/passwd",
        b"/dev//simple/",
        b"/dev/simple//my-widget/",
        b"/dev/files/my-widget//" + WHEEL.encode(),
        b"/..%2fdev/simple/",
        b"/dev%2fsimple/my-widget/",
        b"/%00/simple/",
        b"/dev/simple/\xc3\xbc/",
        b"/dev/../dev/simple/my-widget/",
    ):
        status, answer = raw(url, target, token)
        assert 400 <= status < 500, (target, status)
        assert b"Traceback" not in answer
    assert raw(url, b"/dev/simple/%6dy-widget/", token)[0] == 301
    # What is encoded in the file's name is the file's name.
    assert raw(url, b"/dev/files/my-widget/my%5fwidget-1.0-py3-none-any.whl", token)[0] == 200

    session = requests.Session()
    session.headers.update(basic("__token__", token))
    path = f"{url}/dev/files/my-widget/{WHEEL}"
    whole = session.get(path)
    assert (whole.content, whole.headers["Content-Length"]) == (b"0123456789", "10")
    assert "Content-Encoding" not in whole.headers
    for wanted, data in (("bytes=2-4", b"234"), ("bytes=7-", b"789"), ("bytes=-2", b"89")):
        part = session.get(path, headers={"Range": wanted})
        assert (part.status_code, part.content) == (206, data)
    head = session.head(path)
    assert (head.status_code, head.content, head.headers["Content-Length"]) == (200, b"", "10")
    page = session.get(f"{url}/dev/simple/my-widget/", headers={"Accept": JSON})
    again = session.get(page.url, headers={"Accept": JSON, "If-None-Match": page.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    # Refusals keep the connection: a client that learns its credential goes on with the next request.
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=20)
    for _ in range(2):
        connection.request("GET", "/dev/simple/")
        answer = connection.getresponse()
        assert (answer.status, answer.will_close) == (401, False)
        answer.read()
    connection.close()


@pytest.mark.system
def test_pip_and_uv_install_what_the_channel_has(house, serve, tmp_path: Path, put) -> None:
    filename, data = house.wheel("my-widget", "1.0")
    metadata = zipfile.ZipFile(io.BytesIO(data)).read("my_widget-1.0.dist-info/METADATA")
    put(house, filename, data, metadata=metadata, requires_python=">=3.9")
    url, token = serve(house), house.token("read:dev")
    index = url.replace("http://", f"http://__token__:{token}@") + "/dev/simple/"
    env = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(tmp_path),
        "UV_CACHE_DIR": str(tmp_path / "cache"),
        "PIP_CONFIG_FILE": "/dev/null",
    }
    pip = [sys.executable, "-m", "pip", "install", "--no-cache-dir", "--isolated", "--index-url", index]
    uv = [sys.executable, "-m", "uv", "pip", "install", "--no-config", "--default-index", index]
    for name, command in (("pip", pip), ("uv", uv)):
        target = tmp_path / name
        done = subprocess.run(
            [*command, "--target", target, "my-widget==1.0"],
            env=env,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        assert (target / "my_widget" / "__init__.py").is_file()
