"""The decision on its own: no server, no database."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildfarm.index.decide import Answer, Ask, Verdict, decide
from buildfarm.index.pagetree import Stored

JSON = "application/vnd.pypi.simple.v1+json"
WHEEL = "my_widget-1.0-py3-none-any.whl"
FILES = {
    "dev/simple/.root.json.gz": (96, 50),
    "dev/simple/.root.json.zst": (97, 51),
    "dev/simple/.root.html.gz": (98, 52),
    "dev/simple/my-widget.json.gz": (96, 60),
    "dev/simple/my-widget.json.zst": (97, 61),
    "dev/simple/my-widget.html.gz": (98, 62),
    f"dev/files/my-widget/{WHEEL}": (0xAAAA, 10),
    f"dev/files/my-widget/{WHEEL}.metadata": (0xBBBB, 3),
    f"dev/files/my-widget/{WHEEL}.provenance": (0xCCCC, 4),
    f"dev/files/my-widget/{WHEEL}.sigstore.json": (0xDDDD, 5),
    "dev/files/my-widget/my_widget-1.0.tar.gz": (0xEEEE, 20),
    "dev/pypi/my-widget/json.gz": (96, 70),
    "dev/pypi/my-widget/1.0/json.gz": (88, 71),
    "dev/rss/updates.xml.gz": (96, 80),
    "dev/rss/packages.xml.gz": (96, 81),
    "dev/rss/project/my-widget.xml.gz": (96, 82),
    f"pr-widget-1/files/my-widget/{WHEEL}": (0xAAAA, 10),
    "all/.on-demand": (0, 0),
    "all/simple/my-widget.json.gz": (96, 60),
}


@dataclass
class Table:
    """A tree in memory; notes the paths it was asked for."""

    asked: list[str] = field(default_factory=list)

    def find(self, path: str) -> Stored | None:
        self.asked.append(path)
        return Stored(path, FILES[path][1], FILES[path][0]) if path in FILES else None


def ask(
    path: str,
    verdict: Verdict = Verdict.ALLOW,
    *,
    method: str = "GET",
    channel: str = "dev",
    query: str = "",
    **headers: str,
) -> Answer:
    wanted = {name.replace("_", "-"): value for name, value in headers.items()}
    return decide(Ask(method, channel, path, wanted, query), verdict, Table())


def header(answer: Answer, name: str) -> str | None:
    return dict(answer.headers).get(name)


@pytest.mark.parametrize(
    "path", ["simple/", "simple/my-widget/", f"files/my-widget/{WHEEL}", "simple/none/", "x"]
)
@pytest.mark.parametrize(("verdict", "status"), [(Verdict.UNKNOWN, 401), (Verdict.FORBIDDEN, 403)])
def test_who_may_not_read_cannot_tell_what_exists(path: str, verdict: Verdict, status: int) -> None:
    table = Table()
    answer = decide(Ask("GET", "dev", path), verdict, table)
    assert answer.status == status
    assert table.asked == []
    assert (header(answer, "WWW-Authenticate") is not None) == (status == 401)
    assert answer == decide(Ask("GET", "dev", path), verdict, Table())


@pytest.mark.parametrize(
    ("path", "status", "location"),
    [
        ("simple", 301, "simple/"),
        ("simple/my-widget", 301, "my-widget/"),
        ("simple/My_Widget", 301, "my-widget/"),
        ("simple/My.Widget/", 301, "../my-widget/"),
        ("simple/my%2Dwidget/", 301, "../my-widget/"),
        ("simple/MY---WIDGET/", 301, "../my-widget/"),
        ("pypi/My_Widget/json", 301, "../my-widget/json"),
        ("pypi/My.Widget/1.0/json", 301, "../../my-widget/1.0/json"),
        ("pypi/None/json", 404, None),
        ("simple/My_Widget?", 404, None),
        ("simple/none", 404, None),
        ("simple/None/", 404, None),
        ("simple/none/", 404, None),
    ],
)
def test_one_spelling_of_a_name_has_the_page(path: str, status: int, location: str | None) -> None:
    answer = ask(path)
    assert (answer.status, header(answer, "Location")) == (status, location)


def test_a_redirect_keeps_the_query_and_stays_on_the_server() -> None:
    location = header(ask("simple/My_Widget", query="format=x&y=1"), "Location")
    assert location == "my-widget/?format=x&y=1"


HOSTILE = [
    "",
    "/",
    "simple//",
    "simple/../simple/",
    "simple/%2e%2e/",
    "simple/%00/",
    "simple/%00",
    "simple/a%00b/",
    "simple/%2fetc%2fpasswd/",
    "simple/%2Fbin",
    "simple/..%2f..%2f/",
    "simple/" + "x" * 5000 + "/",
    "simple/.root/",
    "simple/.root.json.gz/",
    "simple/.root",
    "simple/my-widget.json.gz",
    "simple/my-widget.json.gz/",
    "files/my-widget/.new.1.x",
    "pypi/.new/json",
    "pypi/my-widget/../json",
    "pypi/my-widget/%2e%2e/json",
    "pypi/my-widget/1.0/json.gz",
    "pypi/my-widget/1.0/2.0/json",
    "pypi/my-widget/json/",
    "pypi/json",
    "rss/updates.xml.gz",
    "rss/../serial",
    "rss/project/../releases.xml",
    "rss/project/My_Widget/releases.xml",
    "simple/my-widget/index.json",
    "simple/%ff%fe/",
    "simple/my-widget;x/",
    "simple/my-widget%20/",
    "simple/%0d%0aSet-Cookie:x/",
    "files/.root/x",
    "files/../x",
    "files/my-widget/",
    "files/",
    "files/my-widget/../" + WHEEL,
    "files/my-widget/%2e%2e%2f" + WHEEL,
    "files/none/" + WHEEL,
    "files/my-widget/x.whl",
    "files/My_Widget/" + WHEEL,
    "files/my-widget/" + "x" * 5000,
    "files/my-widget/%00",
    "files/my-widget/.metadata",
    "files/my-widget/my_widget-1.0.tar.gz.metadata",
    "files/my-widget/my_widget-1.0.tar.gz.provenance",
    f"files/my-widget/{WHEEL}.metadata.metadata",
    f"files/my-widget/{WHEEL}.asc",
    f"files/my-widget/{WHEEL}/",
    "other/",
    "simple/m\u00fc-widget/",
    "simple/\u212aelvin/",
]


@pytest.mark.parametrize("path", HOSTILE)
def test_hostile_paths_are_not_found(path: str) -> None:
    table = Table()
    answer = decide(Ask("GET", "dev", path), Verdict.ALLOW, table)
    assert answer.status == 404
    for asked in table.asked:
        # Nothing but a plain name ever becomes a part of a path.
        assert re.fullmatch(r"dev/([a-z]+/)*[A-Za-z0-9._+!/-]+|dev/.on-demand", asked), asked
        assert ".." not in asked.split("/")
        assert not any(part.startswith(".") for part in asked.split("/")[2:-1])


@given(st.text(max_size=40), st.sampled_from(["GET", "HEAD", "POST"]), st.text(max_size=10))
def test_no_path_crashes_the_decision(path: str, method: str, prefix: str) -> None:
    for whole in (
        path,
        f"simple/{path}",
        f"simple/{path}/",
        f"files/my-widget/{path}",
        f"files/{path}/{prefix}",
        f"pypi/my-widget/{path}/json",
        f"pypi/{path}/json",
        f"rss/project/{path}/releases.xml",
    ):
        assert decide(Ask(method, "dev", whole), Verdict.ALLOW, Table()).status in {200, 301, 404, 405}


@given(
    st.dictionaries(
        st.sampled_from(["accept", "range", "if-range", "if-none-match", "accept-encoding"]),
        st.text(max_size=40),
    )
)
def test_no_header_crashes_the_decision(headers: dict[str, str]) -> None:
    for path in ("simple/", "simple/my-widget/", f"files/my-widget/{WHEEL}"):
        assert decide(Ask("GET", "dev", path, headers), Verdict.ALLOW, Table()).status in {
            200,
            206,
            304,
            406,
            416,
        }


def test_an_unknown_channel_is_not_found() -> None:
    assert ask("simple/", channel="stable").status == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_pages_are_only_read(method: str) -> None:
    answer = ask("simple/", method=method)
    assert (answer.status, header(answer, "Allow")) == (405, "GET, HEAD")


VENDOR = "application/vnd.pypi.simple.v1+html"


@pytest.mark.parametrize("path", ["simple/", "simple/my-widget/"])
def test_a_page_in_each_form_has_its_own_validator(path: str) -> None:
    seen = {}
    for accept in (JSON, VENDOR, "text/html"):
        for encoding in ("", "gzip", "zstd, gzip"):
            answer = ask(path, accept=accept, accept_encoding=encoding)
            assert answer.status == 200
            assert answer.file
            assert header(answer, "Content-Type") == accept + (
                "; charset=utf-8" if accept == "text/html" else ""
            )
            chosen = encoding and ("zstd" if encoding.startswith("zstd") and accept == JSON else "gzip")
            assert header(answer, "Content-Encoding") == (chosen or None)
            assert answer.inflate == (not chosen)
            assert header(answer, "Vary") == "Accept, Accept-Encoding"
            assert header(answer, "Cache-Control") == "max-age=0, must-revalidate, private"
            assert header(answer, "X-PyPI-Last-Serial") == "12"
            assert header(answer, "Content-Length") == (str(answer.file.size) if chosen else None)
            assert header(answer, "Content-Security-Policy") == "default-src 'none'"
            assert header(answer, "Last-Modified") is None
            seen[header(answer, "ETag")] = (accept, chosen)
    assert len(seen) == 7
    assert all(str(etag).startswith('"') for etag in seen)


def test_a_validator_is_time_and_size_as_nginx_says_them() -> None:
    def etag(**headers: str) -> str | None:
        return header(ask("simple/my-widget/", **headers), "ETag")

    assert etag(accept=JSON, accept_encoding="gzip") == '"60-3c"'
    assert etag(accept=JSON, accept_encoding="zstd") == '"61-3d"'
    assert etag(accept=JSON) == '"60-3ci"'
    assert etag(accept="text/html", accept_encoding="gzip") == '"62-3e"'
    assert etag(accept=VENDOR, accept_encoding="gzip") == '"62-3ev"'
    assert etag(accept=VENDOR) == '"62-3evi"'
    assert header(ask(f"files/my-widget/{WHEEL}"), "ETag") == '"aaaa-a"'


@pytest.mark.parametrize(
    ("path", "file", "content_type"),
    [
        ("pypi/my-widget/json", "dev/pypi/my-widget/json.gz", "application/json"),
        ("pypi/my-widget/1.0/json", "dev/pypi/my-widget/1.0/json.gz", "application/json"),
        ("rss/updates.xml", "dev/rss/updates.xml.gz", "text/xml; charset=utf-8"),
        ("rss/packages.xml", "dev/rss/packages.xml.gz", "text/xml; charset=utf-8"),
        ("rss/project/my-widget/releases.xml", "dev/rss/project/my-widget.xml.gz", "text/xml; charset=utf-8"),
    ],
)
def test_documents_beside_the_pages(path: str, file: str, content_type: str) -> None:
    answer = ask(path, accept_encoding="gzip", accept="image/png")
    assert answer.file
    assert (answer.status, answer.file.path, header(answer, "Content-Type")) == (200, file, content_type)
    assert header(answer, "Vary") == "Accept-Encoding"
    assert header(answer, "Cache-Control") == "max-age=0, must-revalidate, private"
    assert ask(path, accept_encoding="gzip", if_none_match=header(answer, "ETag") or "").status == 304


def test_what_the_tree_lacks_web_may_have_in_channels_that_are_made_on_demand() -> None:
    for path in ("simple/other/", "simple/", "files/other/other-1.0.tar.gz", "pypi/other/json"):
        answer = ask(path, channel="all")
        assert (answer.status, answer.ask_web) == (404, True)
        assert not ask(path.replace("simple/", "simple/x"), channel="dev").ask_web
    assert ask("simple/my-widget/", channel="all", accept=JSON, accept_encoding="gzip").status == 200
    assert header(ask("simple/Other", channel="all"), "Location") == "other/"
    assert not ask("x", channel="all").ask_web
    assert ask("simple/other/", Verdict.UNKNOWN, channel="all").status == 401


def test_no_coding_that_the_client_takes() -> None:
    assert ask("simple/", accept_encoding="*;q=0").status == 406


def test_revalidation_answers_without_a_body() -> None:
    etag = header(ask("simple/my-widget/", accept=JSON), "ETag") or ""
    for condition in (etag, f"W/{etag}", f'"x", {etag}', "*"):
        answer = ask("simple/my-widget/", accept=JSON, if_none_match=condition)
        assert (answer.status, answer.body, header(answer, "ETag")) == (304, b"", etag)
        assert header(answer, "Vary")
        assert header(answer, "Cache-Control")
    assert ask("simple/my-widget/", accept="text/html", if_none_match=etag).status == 200


def test_forms_that_are_not_spoken() -> None:
    answer = ask("simple/", accept="image/png")
    assert (answer.status, answer.body.count(b"\n")) == (406, 1)
    assert ask("simple/", query="format=yaml", accept=JSON).status == 406
    assert header(ask("simple/", query=f"x=1&format={JSON}", accept="text/html"), "Content-Type") == JSON


def test_public_pages_may_be_shared() -> None:
    assert header(ask("simple/", Verdict.PUBLIC), "Cache-Control") == "max-age=0, must-revalidate"
    assert (
        header(ask(f"files/my-widget/{WHEEL}", Verdict.PUBLIC), "Cache-Control")
        == "max-age=31536000, immutable"
    )


@pytest.mark.parametrize(
    ("suffix", "etag", "size", "content_type", "cache"),
    [
        ("", "aaaa-a", 10, "application/octet-stream", "max-age=31536000, immutable, private"),
        (".metadata", "bbbb-3", 3, "application/octet-stream", "max-age=31536000, immutable, private"),
        (
            ".provenance",
            "cccc-4",
            4,
            "application/vnd.pypi.integrity.v1+json",
            "max-age=0, must-revalidate, private",
        ),
        (
            ".sigstore.json",
            "dddd-5",
            5,
            "application/vnd.dev.sigstore.bundle.v0.3+json",
            "max-age=0, must-revalidate, private",
        ),
    ],
)
def test_a_file_and_what_belongs_to_it(
    suffix: str, etag: str, size: int, content_type: str, cache: str
) -> None:
    answer = ask(f"files/my-widget/{WHEEL}{suffix}", accept_encoding="gzip")
    assert answer.file
    assert (answer.status, answer.file.path) == (200, f"dev/files/my-widget/{WHEEL}{suffix}")
    assert (answer.start, answer.length) == (0, size)
    assert dict(answer.headers) == {
        "ETag": f'"{etag}"',
        "Accept-Ranges": "bytes",
        "Cache-Control": cache,
        "Content-Type": content_type,
        "Content-Length": str(size),
    }


def test_an_sdist_is_gzip_and_never_encoded() -> None:
    answer = ask("files/my-widget/my_widget-1.0.tar.gz", accept_encoding="gzip")
    assert header(answer, "Content-Type") == "application/gzip"
    assert header(answer, "Content-Encoding") is None


def test_parts_of_a_file() -> None:
    path = f"files/my-widget/{WHEEL}"
    answer = ask(path, range="bytes=2-4")
    assert (answer.status, answer.start, answer.length) == (206, 2, 3)
    assert (header(answer, "Content-Range"), header(answer, "Content-Length")) == ("bytes 2-4/10", "3")
    assert header(ask(path, range="bytes=10-"), "Content-Range") == "bytes */10"
    assert ask(path, range="bytes=10-").status == 416
    assert ask(path, range="bytes=0-1,3-4").status == 200
    assert ask(path, range="bytes=-4").start == 6


def test_a_resumed_download_is_of_the_same_file() -> None:
    path, etag = f"files/my-widget/{WHEEL}", '"aaaa-a"'
    assert ask(path, range="bytes=2-", if_range=etag).status == 206
    for other in ('"b"', f"W/{etag}", "Wed, 21 Oct 2026 07:28:00 GMT"):
        assert ask(path, range="bytes=2-", if_range=other).status == 200
    assert ask(path, if_none_match=etag).status == 304


def test_head_is_get_without_a_part() -> None:
    path = f"files/my-widget/{WHEEL}"
    assert ask(path, method="HEAD").headers == ask(path).headers
    assert ask(path, method="HEAD", range="bytes=2-4").headers == ask(path).headers
    assert ask("simple/", method="HEAD", accept=JSON).headers == ask("simple/", accept=JSON).headers


def test_a_file_of_a_stage_is_asked_for_anew_for_its_name_may_get_other_bytes() -> None:
    for channel, cache in (
        ("pr-widget-1", "max-age=0, must-revalidate, private"),
        ("dev", "max-age=31536000, immutable, private"),
    ):
        answer = ask(f"files/my-widget/{WHEEL}", channel=channel)
        assert dict(answer.headers)["Cache-Control"] == cache
        assert answer.status == 200
