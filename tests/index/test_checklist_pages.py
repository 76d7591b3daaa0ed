"""The conformance checklist, by its line numbers: pages (A, B, C), files (D), neighbours (G).

Each line goes through the web application, as a client that has a token sends it. Lines that other tests
hold in full are not repeated: negotiation and hostile paths in test_decide, escaping in test_render.
"""

from __future__ import annotations

import gzip
import hashlib
import html as html_module
import json
import re
from typing import Any
from urllib.parse import urljoin
from xml.etree import ElementTree as ET

import pytest
import zstandard
from flask.testing import FlaskClient

from buildfarm.index import promote, status, withdraw
from tests.conftest import open_farm
from tests.index.conftest import put_one

JSON = "application/vnd.pypi.simple.v1+json"
HTML = "application/vnd.pypi.simple.v1+html"
WHEEL, SDIST, OLD = "my_widget-1.0-py3-none-any.whl", "my_widget-1.0.tar.gz", "my_widget-0.9.tar.gz"
METADATA = b"Metadata-Version: 2.1\nName: My.Widget\nVersion: 1.0\nSummary: A part\n"
LIST, PAGE, FILE = "/dev/simple/", "/dev/simple/my-widget/", f"/dev/files/my-widget/{WHEEL}"
PIP = f"{JSON}, {HTML}; q=0.1, text/html; q=0.01"


@pytest.fixture(scope="module")
def filled(tmp_path_factory, sqlite_template):
    folder = tmp_path_factory.mktemp("checklist")
    (folder / "farm.db").write_bytes(sqlite_template.read_bytes())

    house = open_farm(f"sqlite:///{folder / 'farm.db'}", folder, public_url="https://farm.example")
    put_one(house, OLD, b"old", metadata=b"Metadata-Version: 2.1\n")
    put_one(
        house, WHEEL, b"0123456789", metadata=METADATA, provenance=b'{"version":1}', requires_python=">=3.9"
    )
    put_one(house, SDIST, b"sdist bytes")
    for name in ("archived", "quarantined", "gone", "yanked"):
        put_one(house, f"{name}-1.0.tar.gz", name.encode())
    with house.database.begin() as session:
        for name in ("archived", "quarantined"):
            status.set_status(session, name, name, reason='see "<b>"', actor="ada")
        withdraw.withdraw(session, project="gone", version="1.0", filenames=[], reason="wrong", actor="ada")
        promote.yank(session, project="yanked", version="1.0", reason='"><script>', actor="ada")
    house.follower.catch_up()
    yield house
    house.database.close()


@pytest.fixture(scope="module")
def reader(filled) -> FlaskClient:
    return filled.client(filled.token("read:dev"))


def page(reader: FlaskClient, path: str = PAGE) -> dict[str, Any]:
    return json.loads(reader.get(path, headers={"Accept": JSON}).data)


def html(reader: FlaskClient, path: str = PAGE) -> str:
    return reader.get(path, headers={"Accept": "text/html"}).text


@pytest.mark.parametrize("path", [LIST, PAGE])
def test_lines_1_to_4_pages_speak_what_is_asked(reader, path: str) -> None:
    for accept, content_type in (
        (JSON, JSON),
        (PIP, JSON),
        (HTML, HTML),
        ("*/*", "text/html; charset=utf-8"),
    ):
        assert reader.get(path, headers={"Accept": accept}).headers["Content-Type"] == content_type
    vendor, plain = (reader.get(path, headers={"Accept": accept}) for accept in (HTML, "text/html"))
    assert vendor.data == plain.data


def test_lines_7_and_8_refusals_of_a_form_are_one_line(reader) -> None:
    for query, accept in (("", "image/png"), ("?format=xml", JSON)):
        answer = reader.get(LIST + query, headers={"Accept": accept})
        assert (answer.status_code, answer.text.count("\n")) == (406, 1)


def test_lines_9_to_13_every_representation_has_its_headers(reader) -> None:
    etags = set()
    for accept in (JSON, HTML, "text/html"):
        for coding in ("identity", "gzip", "zstd"):
            asked = {"Accept": accept, "Accept-Encoding": coding}
            answer = reader.get(PAGE, headers=asked)
            assert answer.headers["Vary"] == "Accept, Accept-Encoding"
            assert answer.headers["Cache-Control"] == "max-age=0, must-revalidate, private"
            assert "Last-Modified" not in answer.headers
            etag = answer.headers["ETag"]
            etags.add(etag)
            for condition in (etag, f"W/{etag}", f'"x", {etag}', "*"):
                again = reader.get(PAGE, headers={**asked, "If-None-Match": condition})
                assert (again.status_code, again.data, again.headers["ETag"]) == (304, b"", etag)
                assert again.headers["Vary"] == answer.headers["Vary"]
                assert again.headers["Cache-Control"] == answer.headers["Cache-Control"]
            head = reader.head(PAGE, headers=asked)
            assert (head.data, head.headers["Content-Length"]) == (b"", answer.headers["Content-Length"])
    assert len(etags) == 7  # zstd is for JSON alone


def test_line_14_what_is_sent_in_a_coding_is_the_page(reader) -> None:
    plain = reader.get(PAGE, headers={"Accept": JSON}).data
    packed = reader.get(PAGE, headers={"Accept": JSON, "Accept-Encoding": "gzip, deflate"})
    small = reader.get(PAGE, headers={"Accept": JSON, "Accept-Encoding": "gzip, deflate, zstd"})
    assert (packed.headers["Content-Encoding"], small.headers["Content-Encoding"]) == ("gzip", "zstd")
    assert gzip.decompress(packed.data) == plain
    inflate = zstandard.ZstdDecompressor().stream_reader(small.data, read_across_frames=True)
    assert inflate.read() == plain


def test_lines_15_to_17_one_spelling_has_the_page(reader) -> None:
    for path, location in (
        ("/dev/simple/my-widget?x=1", "my-widget/?x=1"),
        ("/dev/simple/My.Widget/", "../my-widget/"),
    ):
        answer = reader.get(path)
        assert (answer.status_code, answer.headers["Location"]) == (301, location)
        assert urljoin(f"http://h{path}", location).startswith(f"http://h{PAGE}")
    assert reader.get("/dev/simple/unknown/").status_code == 404


def test_line_20_the_serial_stands_in_header_and_body(reader) -> None:
    for path in (LIST, PAGE):
        answer = reader.get(path, headers={"Accept": JSON})
        assert int(answer.headers["X-PyPI-Last-Serial"]) == page(reader, path)["meta"]["_last-serial"] > 0


def test_lines_21_and_22_the_list_has_what_is_visible(reader) -> None:
    told = page(reader, LIST)
    assert told["meta"]["api-version"] == "1.4"
    assert [one["name"] for one in told["projects"]] == ["archived", "my-widget", "quarantined", "yanked"]


def test_lines_23_to_33_a_page_in_json(reader) -> None:
    told = page(reader)
    assert (told["meta"]["api-version"], told["name"]) == ("1.4", "my-widget")
    assert told["versions"] == ["0.9", "1.0"]
    assert [one["filename"] for one in told["files"]] == [OLD, WHEEL, SDIST]
    assert all(key in {"meta", "name", "versions", "files", "project-status"} for key in told)
    for one in told["files"]:
        url = urljoin(f"https://farm.example{PAGE}", one["url"])
        assert url.startswith("https://farm.example/dev/files/")
        body = reader.get(url.removeprefix("https://farm.example")).data
        assert (one["size"], one["hashes"]) == (len(body), {"sha256": hashlib.sha256(body).hexdigest()})
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", one["upload-time"])
        assert one["yanked"] is False
    old, wheel, sdist = told["files"]
    assert wheel["requires-python"] == ">=3.9"
    assert "requires-python" not in old
    digest = {"sha256": hashlib.sha256(METADATA).hexdigest()}
    assert wheel["core-metadata"] == wheel["data-dist-info-metadata"] == digest
    assert old["core-metadata"] is False, "an sdist's metadata is stored, and not shown"
    assert reader.get(f"{FILE}.metadata").data == METADATA
    assert reader.get(f"/dev/files/my-widget/{OLD}.metadata").status_code == 404
    assert wheel["provenance"] == f"https://farm.example{FILE}.provenance"
    assert sdist["provenance"] is None


def test_line_34_provenance_is_beside_the_file(reader) -> None:
    answer = reader.get(f"{FILE}.provenance")
    assert (answer.status_code, answer.content_type) == (200, "application/vnd.pypi.integrity.v1+json")
    assert reader.get(f"/dev/files/my-widget/{SDIST}.provenance").status_code == 404


def test_lines_35_36_and_44_status_and_quarantine(reader) -> None:
    assert page(reader)["project-status"] == {"status": "active"}
    for name in ("archived", "quarantined"):
        told, shown = page(reader, f"/dev/simple/{name}/"), html(reader, f"/dev/simple/{name}/")
        assert told["project-status"] == {"status": name, "reason": 'see "<b>"'}
        assert f'<meta name="pypi:project-status" content="{name}">' in shown
        assert 'content="see &quot;&lt;b&gt;&quot;"' in shown
    assert page(reader, "/dev/simple/quarantined/")["files"] == []
    assert "<a " not in html(reader, "/dev/simple/quarantined/")
    assert reader.get("/dev/files/quarantined/quarantined-1.0.tar.gz").status_code == 404
    assert reader.get("/dev/files/archived/archived-1.0.tar.gz").status_code == 200


def test_line_40_two_requests_give_the_same_bytes(reader) -> None:
    for path in (LIST, PAGE):
        assert len({reader.get(path, headers={"Accept": JSON}).data for _ in range(3)}) == 1


def test_lines_41_to_47_a_page_in_html(reader) -> None:
    shown = html(reader)
    assert shown.startswith("<!DOCTYPE html>")
    assert '<meta name="pypi:repository-version" content="1.4">' in shown
    lines = [line for line in shown.splitlines() if "<a " in line]
    found = [
        re.fullmatch(r'<a href="([^"#]+)#sha256=([0-9a-f]{64})".*>([^<]+)</a><br>', line) for line in lines
    ]
    told = page(reader)["files"]
    assert [(one[1], one[2], one[3]) for one in found if one] == [
        (one["url"], one["hashes"]["sha256"], one["filename"]) for one in told
    ]
    assert 'data-requires-python="&gt;=3.9"' in lines[1]
    for name in ("core-metadata", "dist-info-metadata"):
        assert f'data-{name}="sha256={hashlib.sha256(METADATA).hexdigest()}"' in lines[1]
    assert f'data-provenance="https://farm.example{FILE}.provenance"' in lines[1]
    yanked = html(reader, "/dev/simple/yanked/")
    assert 'data-yanked="&quot;&gt;&lt;script&gt;"' in yanked
    assert "<script" not in yanked
    answer = reader.get(PAGE)
    assert answer.headers["Content-Security-Policy"] == "default-src 'none'"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("path", [FILE, f"{FILE}.metadata", f"/dev/files/my-widget/{SDIST}"])
def test_lines_48_to_52_files_are_whole_resumable_and_for_ever(reader, path: str) -> None:
    whole = reader.get(path, headers={"Accept-Encoding": "gzip"})
    assert "Content-Encoding" not in whole.headers
    assert whole.headers["Accept-Ranges"] == reader.head(path).headers["Accept-Ranges"] == "bytes"
    assert whole.headers["Cache-Control"] == "max-age=31536000, immutable, private"
    size, etag = len(whole.data), whole.headers["ETag"]
    for asked, start, end in (("2-4", 2, 4), ("3-", 3, size - 1), ("-2", size - 2, size - 1)):
        part = reader.get(path, headers={"Range": f"bytes={asked}", "If-Range": etag})
        assert (part.status_code, part.data) == (206, whole.data[start : end + 1])
        assert part.headers["Content-Range"] == f"bytes {start}-{end}/{size}"
    beyond = reader.get(path, headers={"Range": f"bytes={size}-"})
    assert (beyond.status_code, beyond.headers["Content-Range"]) == (416, f"bytes */{size}")
    assert reader.get(path, headers={"Range": "bytes=0-1,3-4"}).status_code == 200
    assert reader.get(path, headers={"Range": "bytes=2-", "If-Range": '"x"'}).data == whole.data


def test_lines_53_to_55_withdrawn_files_are_gone_and_yanked_ones_stay(reader) -> None:
    assert reader.get("/dev/simple/gone/").status_code == 404
    assert reader.get("/dev/files/gone/gone-1.0.tar.gz").status_code == 404
    assert reader.get("/dev/pypi/gone/json").status_code == 404
    assert reader.get("/dev/files/yanked/yanked-1.0.tar.gz").data == b"yanked"
    assert page(reader, "/dev/simple/yanked/")["files"][0]["yanked"] == '"><script>'
    provenance = reader.get(f"{FILE}.provenance")
    assert provenance.headers["Cache-Control"] == "max-age=0, must-revalidate, private"


def test_line_77_the_json_api(reader) -> None:
    answer = reader.get("/dev/pypi/my-widget/json")
    told = json.loads(answer.data)
    assert answer.content_type == "application/json"
    assert told["last_serial"] == int(answer.headers["X-PyPI-Last-Serial"])
    assert told["vulnerabilities"] == []
    assert (told["info"]["version"], told["info"]["summary"]) == ("1.0", "A part")
    assert {version: len(files) for version, files in told["releases"].items()} == {"0.9": 1, "1.0": 2}
    assert told["urls"] == told["releases"]["1.0"]
    assert [one["packagetype"] for one in told["urls"]] == ["bdist_wheel", "sdist"]
    assert told["urls"][0]["url"] == f"https://farm.example{FILE}"
    one = json.loads(reader.get("/dev/pypi/my-widget/0.9/json").data)
    assert (one["info"]["version"], [file["filename"] for file in one["urls"]]) == ("0.9", [OLD])
    assert reader.get("/dev/pypi/my-widget/3.0/json").status_code == 404
    assert reader.get("/dev/pypi/My_Widget/1.0/json").headers["Location"] == "../../my-widget/1.0/json"


@pytest.mark.parametrize("path", ["/_/oidc/audience", "/_/oidc/mint-token", "/.well-known/pytp"])
def test_line_78_trusted_publishing_that_is_not_there_is_a_problem_document(filled, path: str) -> None:
    for client in (filled.client(), filled.client(filled.token("read:dev"))):
        for accept in ({}, {"Accept": "*/*"}):
            answer = client.get(path, headers=accept)
            assert (answer.status_code, answer.content_type) == (404, "application/problem+json")
            assert answer.json["code"] == "http.404"


def test_line_79_feeds(filled, reader) -> None:
    def titles(path: str) -> list[str | None]:
        answer = reader.get(path)
        assert answer.content_type == "text/xml; charset=utf-8"
        root = ET.fromstring(answer.data)  # noqa: S314 - of our own making
        return [item.findtext("title") for item in root.iter("item")]

    def is_there() -> bool:
        filled.follower.catch_up()
        return "yanked 1.0" in titles("/dev/rss/updates.xml")

    filled.wait_for(is_there)
    assert titles("/dev/rss/updates.xml")[-2:] == ["my-widget 1.0", "my-widget 0.9"]
    assert set(titles("/dev/rss/packages.xml")) == {"archived", "my-widget", "quarantined", "yanked"}
    assert titles("/dev/rss/project/my-widget/releases.xml") == ["1.0", "0.9"]


def test_line_80_the_root_of_a_channel_is_a_page_for_people(filled, reader) -> None:
    answer = reader.get("/dev/", headers={"Accept": "text/html"})
    assert answer.status_code == 200
    index = "https://farm.example/dev/simple/"
    for line in (
        f"pip install --index-url {index} NAME",
        f"poetry source add --priority=primary farm {index}",
        "twine upload --repository-url https://farm.example/dev/legacy/",
        'href="/projects/my-widget/1.0"',
    ):
        assert line in html_module.unescape(answer.text), line
    stranger = filled.client()
    assert stranger.get("/dev/", headers={"Accept": "text/html"}).headers["Location"].startswith("/login")
    assert stranger.get("/dev/").status_code == 401
    assert filled.client(filled.token("read:stable")).get("/dev/").status_code == 403
    assert reader.get("/nowhere/").status_code == 404
