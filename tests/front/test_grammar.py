"""The closed grammar: what it takes is the same request to every other parser, and has no body."""

from __future__ import annotations

import pytest
from gunicorn.config import Config
from gunicorn.http.parser import RequestParser
from hypothesis import example, given, settings
from hypothesis import strategies as st

from webapp.front.grammar import parse

HEAD = (
    "GET /dev/simple/my-widget/?format=x HTTP/1.1\r\nHost: farm\r\nAccept: */*\r\n"
    "Authorization: Basic eDp5\r\n\r\n"
)

#: Shapes that are never answered by the front: another parser might see another request, or a body.
FOREIGN = {
    "a body": "GET /dev/simple/ HTTP/1.1\r\nHost: farm\r\nContent-Length: 4\r\n\r\nbody",
    "an empty body": "GET /dev/simple/ HTTP/1.1\r\nHost: farm\r\nContent-Length: 0\r\n\r\n",
    "a chunked body": "GET /dev/simple/ HTTP/1.1\r\nHost: farm\r\n"
    "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "length and chunks": "GET /dev/simple/ HTTP/1.1\r\nHost: farm\r\nContent-Length: 4\r\n"
    "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two lengths": "GET /dev/simple/ HTTP/1.1\r\nHost: farm\r\nContent-Length: 4\r\n"
    "Content-Length: 5\r\n\r\nbody",
    "a coding in disguise": "GET /dev/simple/ HTTP/1.1\r\nHost: farm\r\nTransfer-Encoding : chunked\r\n\r\n",
    "a folded coding": "GET /dev/simple/ HTTP/1.1\r\nHost: farm\r\nTransfer-Encoding:\r\n chunked\r\n\r\n",
    "a vertical tab": "GET /dev/simple/ HTTP/1.1\r\nHost: farm\r\nTransfer-Encoding:\x0bchunked\r\n\r\n",
    "two hosts": "GET /dev/simple/ HTTP/1.1\r\nHost: farm\r\nHost: other\r\n\r\n",
    "no host": "GET /dev/simple/ HTTP/1.1\r\nAccept: */*\r\n\r\n",
    "a folded line": "GET /dev/simple/ HTTP/1.1\r\nHost: farm\r\nAccept: text/html,\r\n */*\r\n\r\n",
    "a space before the colon": "GET /dev/simple/ HTTP/1.1\r\nHost : farm\r\n\r\n",
    "a line without a name": "GET /dev/simple/ HTTP/1.1\r\nHost: farm\r\n: x\r\n\r\n",
    "a line without a colon": "GET /dev/simple/ HTTP/1.1\r\nHost: farm\r\nx\r\n\r\n",
    "a NUL in a value": "GET /dev/simple/ HTTP/1.1\r\nHost: farm\r\nX: a\0b\r\n\r\n",
    "a NUL in the target": "GET /dev/simple/\0 HTTP/1.1\r\nHost: farm\r\n\r\n",
    "a bare CR": "GET /dev/simple/ HTTP/1.1\r\nHost: farm\rX: y\r\n\r\n",
    "a bare LF": "GET /dev/simple/ HTTP/1.1\r\nHost: farm\nContent-Length: 4\r\n\r\n",
    "an empty line before": "\r\nGET /dev/simple/ HTTP/1.1\r\nHost: farm\r\n\r\n",
    "two spaces": "GET  /dev/simple/ HTTP/1.1\r\nHost: farm\r\n\r\n",
    "a tab": "GET\t/dev/simple/ HTTP/1.1\r\nHost: farm\r\n\r\n",
    "a method in small letters": "get /dev/simple/ HTTP/1.1\r\nHost: farm\r\n\r\n",
    "another method": "OPTIONS /dev/simple/ HTTP/1.1\r\nHost: farm\r\n\r\n",
    "absolute form": "GET http://farm/dev/simple/ HTTP/1.1\r\nHost: farm\r\n\r\n",
    "authority form": "CONNECT farm:443 HTTP/1.1\r\nHost: farm\r\n\r\n",
    "HTTP/2 by upgrade": "GET /dev/simple/ HTTP/1.1\r\nHost: farm\r\nConnection: Upgrade, HTTP2-Settings\r\n"
    "Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n",
    "HTTP/2 at once": "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/1.2": "GET /dev/simple/ HTTP/1.2\r\nHost: farm\r\n\r\n",
    "HTTP/0.9": "GET /dev/simple/\r\n\r\n",
    "a hop by name": "GET /dev/simple/ HTTP/1.1\r\nHost: farm\r\nConnection: close, x-secret\r\n\r\n",
    "an expectation": "GET /dev/simple/ HTTP/1.1\r\nHost: farm\r\nExpect: 100-continue\r\n\r\n",
    "trailers": "GET /dev/simple/ HTTP/1.1\r\nHost: farm\r\nTE: trailers\r\n\r\n",
    "a browser's session": "GET /dev/simple/ HTTP/1.1\r\nHost: farm\r\nCookie: buildfarm_session=x\r\n\r\n",
    "a fragment": "GET /dev/simple/#x HTTP/1.1\r\nHost: farm\r\n\r\n",
    "a target that is not ASCII": "GET /dev/simple/\xfc/ HTTP/1.1\r\nHost: farm\r\n\r\n",
    "what is no page": "GET /healthz HTTP/1.1\r\nHost: farm\r\n\r\n",
    "a verdict": "GET /_verdict/dev HTTP/1.1\r\nHost: farm\r\n\r\n",
    "a long head": "GET /dev/simple/ HTTP/1.1\r\nHost: farm\r\nX: " + "a" * 9000 + "\r\n\r\n",
}  # fmt: skip


def test_a_plain_request_is_understood() -> None:
    request = parse(HEAD.encode())
    assert request is not None
    assert (request.method, request.channel, request.path) == ("GET", "dev", "simple/my-widget/")
    assert (request.query, request.is_last) == ("format=x", False)
    assert request.headers == {"host": "farm", "accept": "*/*", "authorization": "Basic eDp5"}


@pytest.mark.parametrize("line", ["HTTP/1.0\r\nHost: farm", "HTTP/1.1\r\nHost: farm\r\nConnection: Close"])
def test_what_ends_its_connection_is_known_to(line: str) -> None:
    request = parse(f"GET /dev/simple/ {line}\r\n\r\n".encode())
    assert request is not None
    assert request.is_last


@pytest.mark.parametrize("name", [name for name in FOREIGN if name != "a long head"])
def test_nothing_else_is(name: str) -> None:
    raw = FOREIGN[name].encode("latin-1")
    end = raw.find(b"\r\n\r\n") + 4
    assert parse(raw[:end]) is None


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A head with pieces put in, taken out or repeated: near what is allowed, on either side of it."""
    text = HEAD[:-4]
    pieces = st.sampled_from(
        ["\r\n", "\n", "\r", " ", "\t", "\0", ":", ",", "%", "%00", "\r\n ", "Content-Length: 4\r\n", "\x0b",
         "Transfer-Encoding: chunked\r\n", "Host: b\r\n", "http://a", "?", "#", "//", "\xa0", "\xff", "GET ",
         "HTTP/1.1", "Connection: close\r\n", "X-Y: z\r\n", "transfer-encoding:\tchunked\r\n", ";", "\\"]
    ) | st.characters(max_codepoint=255)  # fmt: skip
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(text)))
        text = text[:at] + draw(pieces) + text[at + draw(st.integers(0, 2)) :]
    lines = text.split("\r\n")
    at = draw(st.integers(1, len(lines)))
    lines.insert(at, draw(pieces).strip("\r\n")) if draw(st.booleans()) else None
    return ("\r\n".join(lines).replace("\r\n\r\n", "\r\n") + "\r\n\r\n").encode("latin-1")


@settings(max_examples=500)
@given(damaged())
@example(HEAD.encode())
def test_what_the_front_takes_gunicorn_reads_alike(head: bytes) -> None:
    request = parse(head)
    if request is None or head.find(b"\r\n\r\n") + 4 != len(head):
        return
    config = Config()
    config.set("forwarder_headers", "")
    seen = next(
        RequestParser(config, iter([head, b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"]), ("1.2.3.4", 1))
    )
    assert (seen.method, seen.uri.partition("?")[0]) == (request.method, f"/{request.channel}/{request.path}")
    assert seen.query == request.query
    headers = {name.lower(): value for name, value in seen.headers}
    assert headers == request.headers
    assert seen.body.read() == b""
    assert seen.should_close() == request.is_last


@pytest.mark.parametrize("path", ["namespaces", "namespace/acme"])
def test_documents_about_namespaces_are_the_fronts_own(path: str) -> None:
    request = parse(f"GET /dev/{path} HTTP/1.1\r\nHost: farm\r\n\r\n".encode())
    assert request is not None
    assert (request.channel, request.path) == ("dev", path)
