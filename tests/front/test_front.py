"""The front: what it answers, and that everything else reaches web byte for byte."""

from __future__ import annotations

import json

from tests.front.conftest import Site, basic, get

JSON = "application/vnd.pypi.simple.v1+json"


def test_a_page_is_answered_from_the_tree(site: Site) -> None:
    token = site.house.token("read:dev")
    answer = site.wire().send(get("/dev/simple/my-widget/", basic(token), f"Accept: {JSON}\r\n")).answer()
    assert (answer.status, answer.headers["content-type"]) == (200, JSON)
    assert len(json.loads(answer.body)["files"]) == 2
    assert "server" not in answer.headers


def test_what_is_no_page_is_webs(site: Site) -> None:
    answer = site.wire().send(get("/healthz")).answer()
    assert (answer.status, answer.headers["server"]) == (200, "gunicorn")
