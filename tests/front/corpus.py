"""The request corpus: what every server of the index must answer alike. Data; `fill` puts facts in.

A raw request may name facts of the farm that it is sent to, in double angle brackets: credentials
(`<<READER>>` may read `dev`, `<<OTHER>>` reads `stable` alone, `<<STRANGER>>` is no token of ours) as whole
header lines, and the ETags of `<<PAGE>>` (JSON, gzip), `<<PLAIN>>` (JSON, identity) and `<<WHEEL>>`.
`stage.py` makes the farm.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

JSON = "application/vnd.pypi.simple.v1+json"
VENDOR_HTML = "application/vnd.pypi.simple.v1+html"
HTML = "text/html; charset=utf-8"
PIP = f"{JSON}, {VENDOR_HTML}; q=0.1, text/html; q=0.01"
UV = f"{JSON}, {VENDOR_HTML};q=0.2, text/html;q=0.01"
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
PAGE_CACHE = "max-age=0, must-revalidate, private"
FILE_CACHE = "max-age=31536000, immutable, private"
PROVENANCE = "application/vnd.pypi.integrity.v1+json"

WHEEL = "my_widget-1.0-py3-none-any.whl"
SDIST = "my_widget-1.0.tar.gz"
ROOT = "/dev/simple/"
PAGE = "/dev/simple/my-widget/"
FILE = f"/dev/files/my-widget/{WHEEL}"
TARBALL = f"/dev/files/my-widget/{SDIST}"

_PAGE_HEADERS = (
    "content-type", "content-encoding", "content-length", "etag", "vary", "cache-control",
    "x-pypi-last-serial", "last-modified", "x-content-type-options", "location",
)  # fmt: skip
_FILE_HEADERS = (
    "content-type", "content-encoding", "content-length", "etag", "cache-control", "accept-ranges",
    "content-range",
)  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One request, and what is true of its answer.

    `headers` are expected values, None for a header that must not be there; `equal` names headers whose
    values are the same on every server; so is the body's digest where `body` is set. `line` is the
    checklist's number.
    """

    name: str
    line: int
    raw: str
    status: int
    headers: Mapping[str, str | None] = field(default_factory=dict)
    equal: tuple[str, ...] = ()
    body: bool = True
    is_head: bool = False


def fill(case: Case, facts: Mapping[str, str]) -> bytes:
    """The bytes to send to a farm with these facts."""
    return re.sub("<<([A-Z]+)>>", lambda match: facts[match[1]], case.raw).encode("latin-1")


def _ask(path: str, *lines: str, method: str = "GET", who: str = "<<READER>>") -> str:
    fields = "".join(f"{line}\r\n" for line in lines)
    return f"{method} {path} HTTP/1.1\r\nHost: farm\r\n{who}{fields}\r\n"


def _page(name: str, line: int, path: str, *lines: str, method: str = "GET", status: int = 200,
          body: bool = True, **headers: str | None) -> Case:  # fmt: skip
    expected = {key.replace("_", "-"): value for key, value in headers.items()}
    if status in {200, 304}:
        expected |= {"cache-control": PAGE_CACHE, "vary": "Accept, Accept-Encoding", "last-modified": None}
    equal = ("location", "cache-control") if status == 301 else _PAGE_HEADERS
    return Case(
        name, line, _ask(path, *lines, method=method), status, expected, equal, body, is_head=method == "HEAD"
    )


def _file(name: str, line: int, path: str, *lines: str, method: str = "GET", status: int = 200,
          **headers: str | None) -> Case:  # fmt: skip
    expected = {key.replace("_", "-"): value for key, value in headers.items()}
    return Case(
        name, line, _ask(path, *lines, method=method), status, expected, _FILE_HEADERS,
        is_head=method == "HEAD",
    )  # fmt: skip


def _refused(name: str, line: int, raw: str, status: int, **headers: str | None) -> Case:
    expected = {key.replace("_", "-"): value for key, value in headers.items()}
    return Case(name, line, raw, status, expected, (), body=False)


_NEGOTIATION = [
    _page(f"{where} as {what}", line, path, *([f"Accept: {accept}"] if accept else []),
          content_type=content_type, content_encoding=None)
    for where, path in (("the list", ROOT), ("a page", PAGE))
    for what, line, accept, content_type in (
        ("JSON", 1, JSON, JSON),
        ("vendor HTML", 2, VENDOR_HTML, VENDOR_HTML),
        ("HTML", 2, "text/html", HTML),
        ("no wish", 3, "", HTML),
        ("anything", 3, "*/*", HTML),
        ("a browser", 3, BROWSER, HTML),
        ("pip", 4, PIP, JSON),
        ("uv", 4, UV, JSON),
        ("latest JSON", 5, "application/vnd.pypi.simple.latest+json", JSON),
        ("not JSON but vendor HTML", 6, f"{JSON};q=0, {VENDOR_HTML}", VENDOR_HTML),
        ("any application", 6, "application/*", JSON),
        ("nonsense", 6, "nonsense;;q=x,,", HTML),
    )
]  # fmt: skip

_PAGES = [
    _page("only an image", 7, PAGE, "Accept: image/png", status=406, body=False),
    _page("a form by query", 8, f"{PAGE}?format={JSON}", "Accept: text/html", content_type=JSON),
    _page("an encoded plus", 8, f"{PAGE}?format={JSON.replace('+', '%2B')}", content_type=JSON),
    _page("an unknown form by query", 8, f"{PAGE}?format=image/png", status=406, body=False),
    _page("a page that is known", 10, PAGE, f"Accept: {JSON}", "Accept-Encoding: gzip",
          "If-None-Match: <<PAGE>>", status=304, etag="<<PAGE>>", content_type=None),
    _page("one of a list is known", 10, PAGE, f"Accept: {JSON}", "Accept-Encoding: gzip",
          'If-None-Match: "x", <<PAGE>>', status=304, etag="<<PAGE>>"),
    _page("a weak one is known", 10, PAGE, f"Accept: {JSON}", "Accept-Encoding: gzip",
          "If-None-Match: W/<<PAGE>>", status=304, etag="<<PAGE>>"),
    _page("whatever there is", 10, PAGE, f"Accept: {JSON}", "Accept-Encoding: gzip", "If-None-Match: *",
          status=304, etag="<<PAGE>>"),
    _page("another representation is known", 10, PAGE, f"Accept: {JSON}", "Accept-Encoding: gzip",
          "If-None-Match: <<PLAIN>>", etag="<<PAGE>>"),
    _page("the plain one is known", 10, PAGE, f"Accept: {JSON}", "If-None-Match: <<PLAIN>>", status=304,
          etag="<<PLAIN>>"),
    *(
        _page(f"the head of {path} in {encoding}", 13, path, f"Accept: {JSON}",
              f"Accept-Encoding: {encoding}", method="HEAD", content_type=JSON)
        for path in (ROOT, PAGE) for encoding in ("gzip", "identity")
    ),
    _page("gzip", 14, PAGE, f"Accept: {PIP}", "Accept-Encoding: gzip, deflate", content_encoding="gzip"),
    _page("zstd", 14, PAGE, f"Accept: {UV}", "Accept-Encoding: zstd, gzip, deflate", content_encoding="zstd"),
    _page("gzip refused", 14, PAGE, "Accept-Encoding: gzip;q=0", content_encoding=None),
    _page("HTML in gzip", 14, PAGE, "Accept: text/html", "Accept-Encoding: gzip", content_encoding="gzip"),
    _page("the list without a slash", 15, "/dev/simple", status=301, location="simple/"),
    _page("a page without a slash", 15, "/dev/simple/my-widget", status=301, location="my-widget/"),
    _page("a query is kept", 15, "/dev/simple/my-widget?format=x", status=301,
          location="my-widget/?format=x"),
    _page("another spelling", 16, "/dev/simple/My_Widget/", status=301, location="../my-widget/"),
    _page("another spelling without a slash", 16, "/dev/simple/My.Widget", status=301,
          location="my-widget/"),
    _page("an encoded spelling", 16, "/dev/simple/my%2Dwidget/", status=301, location="../my-widget/"),
    _page("no such project", 17, "/dev/simple/no-such/", status=404, location=None),
    _page("no such project, another spelling", 17, "/dev/simple/No_Such/", status=404, location=None),
    *(
        Case(f"{method} of a page", 18, _ask(PAGE, "Content-Length: 0", method=method), 405,
             {"allow": "GET, HEAD"}, body=False)
        for method in ("POST", "PUT", "DELETE")
    ),
    *(
        Case(f"odd input {path[:40]}", 19, _ask(path), 404, {}, body=False)
        for path in (
            "/dev/simple/%00/", "/dev/simple/%ff/", "/dev/simple/%2e%2e/", "/dev/simple/..%2Fstable/",
            "/dev/simple/a;b/", "/dev/simple/a%2Fb/", "/dev/simple/my-widget//", "/dev/simple//my-widget/",
            f"/dev/simple/{'a' * 3000}/", f"/dev/files/my-widget/%2e%2e%2f{WHEEL}", "/dev/files/my-widget/",
            "/dev/files/my-widget/.new.whl", "/dev/files/../simple/", "/dev/simple/.root/",
            "/dev/simple/./", "/dev/files/My_Widget/" + WHEEL, "/dev/simple/my-widget.json.gz",
            "/dev/simple/my-widget.json.gz/",
        )
    ),
    _page("the serial", 20, PAGE, f"Accept: {JSON}"),
]  # fmt: skip

_FILES = [
    _file("a wheel", 48, FILE, content_type="application/octet-stream", content_encoding=None,
          accept_ranges="bytes", cache_control=FILE_CACHE, etag="<<WHEEL>>", content_length="10"),
    _file("an sdist", 48, TARBALL, content_type="application/gzip", content_encoding=None),
    _file("a wheel for who takes gzip", 48, FILE, "Accept-Encoding: gzip", content_encoding=None),
    _file("a wheel that is known", 49, FILE, "If-None-Match: <<WHEEL>>", status=304, etag="<<WHEEL>>"),
    _file("its beginning", 50, FILE, "Range: bytes=0-3", status=206, content_range="bytes 0-3/10"),
    _file("from the middle", 50, FILE, "Range: bytes=4-", status=206, content_range="bytes 4-9/10"),
    _file("its end", 50, FILE, "Range: bytes=-3", status=206, content_range="bytes 7-9/10"),
    _file("more than its end", 50, FILE, "Range: bytes=-30", status=206, content_range="bytes 0-9/10"),
    _file("to beyond its end", 50, FILE, "Range: bytes=2-99", status=206, content_range="bytes 2-9/10"),
    Case("beyond its end", 50, _ask(FILE, "Range: bytes=10-"), 416, {"content-range": "bytes */10"},
         ("content-range",), body=False),
    _file("a range the wrong way round", 50, FILE, "Range: bytes=5-2", content_length="10"),
    _file("a range of something else", 50, FILE, "Range: apples=0-1", content_length="10"),
    _file("a range if it is this one", 51, FILE, "Range: bytes=0-3", "If-Range: <<WHEEL>>", status=206),
    _file("a range if it is another", 51, FILE, "Range: bytes=0-3", 'If-Range: "other"', content_length="10"),
    _file("the head of a wheel", 52, FILE, method="HEAD", accept_ranges="bytes", content_length="10"),
    _file("metadata", 54, f"{FILE}.metadata", cache_control=FILE_CACHE),
    _file("the head of metadata", 13, f"{FILE}.metadata", method="HEAD"),
    _file("provenance", 54, f"{FILE}.provenance", content_type=PROVENANCE, cache_control=PAGE_CACHE),
    _file("no metadata of an sdist", 32, f"{TARBALL}.metadata", status=404),
    _file("no such file", 57, "/dev/files/my-widget/my_widget-2.0-py3-none-any.whl", status=404),
    _file("no such project's file", 57, f"/dev/files/no-such/{WHEEL}", status=404),
    _file("an encoded name", 48, FILE.replace("py3-none", "py3%2Dnone"), content_length="10"),
    _file("a file of another channel", 57, FILE.replace("/dev/", "/stable/"), status=403),
]  # fmt: skip

_CHALLENGE = 'Basic realm="buildfarm", charset="UTF-8"'
_READERS = [
    *(
        _refused(f"{who} asks for {path}", 56, _ask(path, who=line), 401, www_authenticate=_CHALLENGE)
        for who, line in (
            ("nobody", ""),
            ("a stranger", "<<STRANGER>>"),
            ("a name without a password", "Authorization: Basic dTo=\r\n"),
            ("who says nothing that can be read", "Authorization: Basic !!!\r\n"),
            ("another scheme", "Authorization: Digest x\r\n"),
        )
        for path in (ROOT, PAGE, "/dev/simple/no-such/", FILE, f"{FILE}.metadata")
    ),
    *(
        _refused(f"who may read elsewhere asks for {path}", 56, _ask(path, who="<<OTHER>>"), 403)
        for path in (ROOT, PAGE, "/dev/simple/no-such/", FILE)
    ),
    Case("any user name with a token", 58, _ask(PAGE, who="<<NAMED>>"), 200, {}, _PAGE_HEADERS),
    Case("a bearer", 58, _ask(PAGE, who="<<BEARER>>"), 200, {}, _PAGE_HEADERS),
    Case("everybody reads a public channel", 56, _ask("/open/simple/", who=""), 200,
         {"cache-control": "max-age=0, must-revalidate"}, _PAGE_HEADERS),
    Case("whoever it is", 56, _ask("/open/simple/", who="<<STRANGER>>"), 200,
         {"cache-control": "max-age=0, must-revalidate"}, _PAGE_HEADERS),
]  # fmt: skip

CASES: list[Case] = [*_NEGOTIATION, *_PAGES, *_FILES, *_READERS]
assert len({case.name for case in CASES}) == len(CASES)
