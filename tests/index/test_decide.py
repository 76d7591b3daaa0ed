"""The decision on its own: no server, no database."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildfarm.index.decide import Answer, Ask, Verdict, decide

JSON = "application/vnd.pypi.simple.v1+json"
WHEEL = "my_widget-1.0-py3-none-any.whl"
FORMS = ("index.json", "index.json.gz", "index.html", "index.html.gz")


@dataclass
class Table:
    """Pages in memory; notes the names it was asked for."""

    asked: list[str] = field(default_factory=list)
    etags: Mapping[str, str] = field(default_factory=lambda: {form: f'"{form}"' for form in FORMS})
    files: Mapping[str, Mapping[str, Any]] = field(
        default_factory=lambda: {
            WHEEL: {
                "sha256": "a" * 64,
                "size": 10,
                "metadata": "b" * 64,
                "metadata_size": 3,
                "provenance": "c" * 64,
                "provenance_size": 4,
                "bundle": "d" * 64,
                "bundle_size": 5,
            },
            "my_widget-1.0.tar.gz": {"sha256": "e" * 64, "size": 20},
        }
    )
    serial: int = 12

    def read(self, channel: str, name: str) -> Table | None:
        self.asked.append(name)
        return self if (channel, name) in {("dev", "my-widget"), ("dev", "_root")} else None

    def has_channel(self, channel: str) -> bool:
        return channel == "dev"

    def body(self, form: str) -> bytes:
        return form.encode()


def ask(
    path: str,
    verdict: Verdict = Verdict.ALLOW,
    *,
    method: str = "GET",
    channel: str = "dev",
    query: str = "",
    form: str | None = None,
    **headers: str,
) -> Answer:
    wanted = {name.replace("_", "-"): value for name, value in headers.items()}
    return decide(Ask(method, channel, path, wanted, query, form), verdict, Table())


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
    "simple/_root/",
    "simple/_root",
    "simple/.generations/",
    "simple/my-widget/index.json",
    "simple/%ff%fe/",
    "simple/my-widget;x/",
    "simple/my-widget%20/",
    "simple/%0d%0aSet-Cookie:x/",
    "files/_root/x",
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
    assert all(
        name.isascii() and "/" not in name and "\0" not in name and len(name) <= 200 for name in table.asked
    )


@given(st.text(max_size=40), st.sampled_from(["GET", "HEAD", "POST"]), st.text(max_size=10))
def test_no_path_crashes_the_decision(path: str, method: str, prefix: str) -> None:
    for whole in (
        path,
        f"simple/{path}",
        f"simple/{path}/",
        f"files/my-widget/{path}",
        f"files/{path}/{prefix}",
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


@pytest.mark.parametrize("path", ["simple/", "simple/my-widget/"])
def test_a_page_in_each_form_has_its_own_validator(path: str) -> None:
    seen = {}
    for accept in (JSON, "application/vnd.pypi.simple.v1+html", "text/html"):
        for encoding in ("", "gzip"):
            answer = ask(path, accept=accept, accept_encoding=encoding)
            assert answer.status == 200
            assert header(answer, "Content-Type") == accept + (
                "; charset=utf-8" if accept == "text/html" else ""
            )
            assert header(answer, "Content-Encoding") == (encoding or None)
            assert header(answer, "Vary") == "Accept, Accept-Encoding"
            assert header(answer, "Cache-Control") == "max-age=0, must-revalidate, private"
            assert header(answer, "X-PyPI-Last-Serial") == "12"
            assert header(answer, "Content-Length") == str(len(answer.body))
            assert header(answer, "Content-Security-Policy") == "default-src 'none'"
            assert header(answer, "Last-Modified") is None
            seen[header(answer, "ETag")] = (accept, encoding, answer.body)
    assert len(seen) == 6
    assert all(etag.startswith('"') for etag in seen if etag)
    html = {body for accept, encoding, body in seen.values() if "html" in accept and not encoding}
    assert len(html) == 1


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
    assert ask("simple/", form="yaml", accept=JSON).status == 406
    assert header(ask("simple/", form=JSON, accept="text/html"), "Content-Type") == JSON


def test_public_pages_may_be_shared() -> None:
    assert header(ask("simple/", Verdict.PUBLIC), "Cache-Control") == "max-age=0, must-revalidate"
    assert (
        header(ask(f"files/my-widget/{WHEEL}", Verdict.PUBLIC), "Cache-Control")
        == "max-age=31536000, immutable"
    )


@pytest.mark.parametrize(
    ("suffix", "digest", "size", "content_type", "cache"),
    [
        ("", "a", 10, "application/octet-stream", "max-age=31536000, immutable, private"),
        (".metadata", "b", 3, "application/octet-stream", "max-age=31536000, immutable, private"),
        (
            ".provenance",
            "c",
            4,
            "application/vnd.pypi.integrity.v1+json",
            "max-age=0, must-revalidate, private",
        ),
        (
            ".sigstore.json",
            "d",
            5,
            "application/vnd.dev.sigstore.bundle.v0.3+json",
            "max-age=0, must-revalidate, private",
        ),
    ],
)
def test_a_file_and_what_belongs_to_it(
    suffix: str, digest: str, size: int, content_type: str, cache: str
) -> None:
    answer = ask(f"files/my-widget/{WHEEL}{suffix}", accept_encoding="gzip")
    assert (answer.status, answer.blob, answer.start, answer.length) == (200, digest * 64, 0, size)
    assert dict(answer.headers) == {
        "ETag": f'"{digest * 64}"',
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
    path, etag = f"files/my-widget/{WHEEL}", f'"{"a" * 64}"'
    assert ask(path, range="bytes=2-", if_range=etag).status == 206
    for other in ('"b"', f"W/{etag}", "Wed, 21 Oct 2026 07:28:00 GMT"):
        assert ask(path, range="bytes=2-", if_range=other).status == 200
    assert ask(path, if_none_match=etag).status == 304


def test_head_is_get_without_a_part() -> None:
    path = f"files/my-widget/{WHEEL}"
    assert ask(path, method="HEAD").headers == ask(path).headers
    assert ask(path, method="HEAD", range="bytes=2-4").headers == ask(path).headers
    assert ask("simple/", method="HEAD", accept=JSON).headers == ask("simple/", accept=JSON).headers
