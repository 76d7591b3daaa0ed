"""An upstream that does its worst: wherever it leads and whatever it sends, it gets nowhere."""

from __future__ import annotations

import gzip
import json
import time
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from buildfarm.errors import ExternalFailure
from buildfarm.mirror import client
from buildfarm.mirror.rules import may_connect
from tests.conftest import wheel

JSON = "application/vnd.pypi.simple.v1+json"
WHEEL, BYTES = wheel("gadget", "1.0")


@pytest.fixture
def farm(open_house, upstream):
    return open_house(
        mirror={"upstreams": [upstream.url.replace("://", "://u:secret@")], "timeout_s": 30}
    ).farm


def sends(status: int, body: bytes = b"", **headers: str) -> Any:
    def act(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body)

    return act


def unreadable(farm, code: str = "mirror.unreachable") -> ExternalFailure:
    with pytest.raises(ExternalFailure) as caught:
        farm.upstream.rows("gadget")
    assert caught.value.code == code
    assert "secret" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize(
    "target", ["file:///etc/passwd", "http://localhost:1/", "ftp://127.0.0.1/", "//169.254.169.254/latest", "http://["]
)  # fmt: skip
def test_a_page_leads_to_no_other_place(farm, upstream, target: str) -> None:
    upstream.acts["/simple/gadget/"] = sends(302, Location=target)
    unreadable(farm)


def test_redirects_end(farm, upstream) -> None:
    upstream.acts["/simple/gadget/"] = sends(302, Location="/simple/gadget/")
    unreadable(farm)
    assert len(upstream.asked) < 10


def test_a_redirect_within_the_index_is_followed(farm, upstream) -> None:
    upstream.acts["/simple/gadget/"] = sends(301, Location="/simple/moved/")
    upstream.page("moved")
    assert farm.upstream.rows("gadget") is not None


@pytest.mark.parametrize("headers", [{}, {"Content_Length": "1000"}])
def test_half_a_page_is_none(farm, upstream, headers: dict[str, str]) -> None:
    upstream.acts["/simple/gadget/"] = sends(200, b'{"files": [', Content_Type=JSON, **headers)
    unreadable(farm, "mirror.unreachable" if headers else "mirror.page_unreadable")


def test_a_page_of_another_type_is_none(farm, upstream) -> None:
    upstream.acts["/simple/gadget/"] = sends(200, b'{"files": []}', Content_Type="image/png")
    unreadable(farm, "mirror.page_unreadable")


def test_a_bomb_does_not_go_off(farm, upstream, monkeypatch) -> None:
    monkeypatch.setattr(client, "PAGE_BYTES", 1 << 20)
    bomb = gzip.compress(b" " * (64 << 20))
    upstream.acts["/simple/gadget/"] = sends(200, bomb, Content_Type=JSON, Content_Encoding="gzip")
    unreadable(farm, "mirror.page_too_large")


def test_a_packed_page_is_read(farm, upstream) -> None:
    packed = gzip.compress(json.dumps({"files": []}).encode())
    upstream.acts["/simple/gadget/"] = sends(200, packed, Content_Type=JSON, Content_Encoding="gzip")
    assert farm.upstream.rows("gadget") is not None


def test_a_page_that_drips_is_given_up(open_house, upstream) -> None:
    farm = open_house(mirror={"upstreams": [upstream.url], "timeout_s": 0.4}).farm

    def drip(handler: BaseHTTPRequestHandler) -> None:
        sends(200, b"{", Content_Type=JSON)(handler)
        for _ in range(200):
            handler.wfile.write(b" ")
            time.sleep(0.02)

    upstream.acts["/simple/gadget/"] = drip
    unreadable(farm)


def test_a_link_to_a_service_of_this_host_is_not_followed_and_gets_no_password(farm, upstream) -> None:
    elsewhere = upstream.url.replace("127.0.0.1", "localhost").removesuffix("/simple")
    upstream.page("gadget", {"filename": WHEEL, "url": f"{elsewhere}/files/{WHEEL}", "hashes": {}})
    upstream.put(f"/files/{WHEEL}", BYTES)
    with pytest.raises(ExternalFailure, match="not for the farm"):
        farm.upstream.file("gadget", WHEEL)
    assert upstream.paths() == ["/simple/gadget/"]
    assert upstream.asked[0][1]["Authorization"].startswith("Basic")


@pytest.mark.parametrize(
    ("address", "upstream_address", "allowed"),
    [
        ("151.101.0.223", "151.101.0.223", True),
        ("10.0.0.7", "10.0.0.8", True),
        ("10.0.0.7", "151.101.0.223", False),
        ("127.0.0.1", "10.0.0.8", False),
        ("127.0.0.1", "127.0.0.1", False),
        ("::1", "10.0.0.8", False),
        ("::ffff:127.0.0.1", "10.0.0.8", False),
        ("169.254.169.254", "10.0.0.8", False),
        ("fe80::1%eth0", "10.0.0.8", False),
        ("0.0.0.0", "10.0.0.8", False),
    ],
)
def test_where_a_link_may_lead(address: str, upstream_address: str, allowed: bool) -> None:
    assert may_connect("files.example", address, "index.example", (upstream_address,)) is allowed
