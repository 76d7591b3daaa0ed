"""Pull-through of upstream indexes, against a stub that says whatever it likes."""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from buildfarm import clock
from buildfarm.errors import ExternalFailure, IntegrityFailure, NotFound
from buildfarm.mirror import client, pages
from buildfarm.mirror.model import UpstreamFile
from buildfarm.mirror.page import parse
from tests.conftest import wheel

WHEEL = "gadget-1.0-py3-none-any.whl"
JSON = "application/vnd.pypi.simple.v1+json"
BASE = "http://index.example/simple/gadget/"
BYTES = wheel("gadget", "1.0")[1]


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def entry(data: bytes = BYTES, **changes: Any) -> dict[str, Any]:
    whole = {
        "filename": WHEEL,
        "url": f"../../files/{WHEEL}",
        "hashes": {"sha256": sha(data)},
        "size": len(data),
    }
    return {name: value for name, value in (whole | changes).items() if value is not None}


@pytest.fixture
def mirrored(open_house, upstream):
    """A farm that follows the stub; `gadget` has one wheel."""
    house = open_house(mirror={"upstreams": [upstream.url + "/"], "timeout_s": 30, "stale_wait_s": 20})
    upstream.page("gadget", entry())
    upstream.put(f"/files/{WHEEL}", BYTES)
    return house


def view(house, name: str = "gadget") -> list[dict[str, Any]]:
    return json.loads(house.farm.build_view.page(name, ["dev"]))["files"]


def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if eleven minutes had passed, and nobody minded that upstream failed a moment ago."""
    moment = clock.now() + timedelta(minutes=11)
    monkeypatch.setattr(clock, "now", lambda: moment)
    monkeypatch.setattr(pages, "_RETRY_S", 0.0)


# Pages ----------------------------------------------------------------------------------------------


def test_a_page_is_passed_on_as_rows_with_our_own_urls(mirrored, upstream) -> None:
    upstream.page(
        "gadget",
        entry(**{"requires-python": ">=3.9", "yanked": "bad", "core-metadata": {"sha256": "a" * 64}}),
    )
    (row,) = view(mirrored, "Gadget")
    assert row == {
        "filename": WHEEL,
        "url": f"../../files/gadget/{WHEEL}",
        "hashes": {"sha256": sha(BYTES)},
        "size": len(BYTES),
        "requires-python": ">=3.9",
        "yanked": "bad",
        "core-metadata": {"sha256": "a" * 64},
    }
    assert upstream.asked[0][1]["Accept"].startswith(JSON)
    view(mirrored)
    assert upstream.paths() == ["/simple/gadget/"]


def test_an_index_that_speaks_html_alone_is_read_too(mirrored, upstream) -> None:
    digest = sha(BYTES)
    page = f'<a href="../../files/{WHEEL}#sha256={digest}" data-yanked="" '
    page += f'data-core-metadata="sha256={"b" * 64}" '
    page += 'data-requires-python="&gt;=3.8">x</a><a href="../../files/gadget-0.9.tar.gz#md5=1">y</a><a>z</a>'
    upstream.put("/simple/gadget/", page.encode(), "text/html; charset=utf-8")
    first, second = view(mirrored)
    assert (first["hashes"], first["yanked"], first["requires-python"]) == ({"sha256": digest}, True, ">=3.8")
    assert first["core-metadata"] == {"sha256": "b" * 64}
    assert (second["filename"], second["hashes"], second["yanked"]) == ("gadget-0.9.tar.gz", {}, False)


def test_a_local_name_is_never_asked_upstream(mirrored, upstream) -> None:
    upstream.page("widget", entry())
    mirrored.source(projects=("widget",))
    assert view(mirrored, "widget") == view(mirrored, "Widget") == []
    for ask in (mirrored.farm.build_view.file, mirrored.farm.build_view.metadata):
        with pytest.raises(NotFound):
            ask("widget", "widget-1.0-py3-none-any.whl", ["dev"])
    assert upstream.paths() == []


@pytest.mark.parametrize(
    "name", ["..", "../x", "a/b", "a?b", "a#b", "", "x y", "%2e%2e", "ü", "a\0", "-a", "a\n"]
)
def test_what_is_no_name_is_never_asked(mirrored, upstream, name: str) -> None:
    for ask in (lambda: view(mirrored, name), lambda: mirrored.farm.build_view.file(name, WHEEL, ["dev"])):
        with pytest.raises(NotFound):
            ask()
    assert upstream.paths() == []


def test_an_unknown_project_is_remembered_as_such(mirrored, upstream) -> None:
    for _ in range(3):
        with pytest.raises(NotFound):
            view(mirrored, "nothing")
    assert upstream.paths() == ["/simple/nothing/"]


def test_a_page_is_revalidated_and_followed(mirrored, upstream, monkeypatch) -> None:
    upstream.page("gadget", entry(), ETag='"one"')
    assert len(view(mirrored)) == 1
    later(monkeypatch)
    assert len(view(mirrored)) == len(view(mirrored)) == 1
    assert [headers.get("If-None-Match") for _path, headers in upstream.asked] == [None, '"one"']
    upstream.page("gadget", entry(), entry(filename="gadget-2.0.tar.gz"), ETag='"two"')
    assert len(view(mirrored)) == 1
    later(monkeypatch)
    assert len(view(mirrored)) == 2


def test_a_file_that_vanishes_is_gone_when_a_second_page_says_so_ten_minutes_later(
    mirrored, upstream, monkeypatch
) -> None:
    view(mirrored)
    upstream.page("gadget", ETag='"empty"')
    for left in (1, 0, 0):
        later(monkeypatch)
        assert len(view(mirrored)) == left
    upstream.page("gadget", entry())
    later(monkeypatch)
    assert len(view(mirrored)) == 1


def test_a_project_that_vanishes_is_treated_like_its_files(mirrored, upstream, monkeypatch) -> None:
    view(mirrored)
    upstream.pages.pop("/simple/gadget/")
    for left in (1, 0):
        later(monkeypatch)
        assert len(view(mirrored)) == left


def test_an_older_page_is_not_followed(mirrored, upstream, monkeypatch) -> None:
    upstream.page("gadget", entry(), entry(filename="gadget-2.0.tar.gz"), **{"X-PyPI-Last-Serial": "7"})
    view(mirrored)
    upstream.page("gadget", entry(), **{"X-PyPI-Last-Serial": "6"})
    for _ in range(3):
        later(monkeypatch)
        assert len(view(mirrored)) == 2
    page = mirrored.farm.upstream.pages.stored("gadget")
    assert (page.serial, page.version) == (7, 1)


def test_while_upstream_is_away_slow_or_confused_the_last_page_stands(
    mirrored, upstream, open_house, monkeypatch
) -> None:
    good = view(mirrored)
    later(monkeypatch)
    upstream.put("/simple/gadget/", b"oops", status=502)
    assert view(mirrored) == good
    upstream.put("/simple/gadget/", b"<<<", JSON)
    assert view(mirrored) == good
    upstream.put("/simple/gadget/", b"<a href='login.html'>Log in</a>", "text/html")
    assert view(mirrored) == good
    upstream.put("/simple/gadget/", b"{}", "application/octet-stream")
    assert view(mirrored) == good
    upstream.page("gadget", entry(), entry(filename="gadget-2.0.tar.gz"))
    gate = threading.Event()
    upstream.before = lambda _path: gate.wait(60)
    assert view(open_house(mirror={"upstreams": [upstream.url + "/"], "timeout_s": 0.5})) == good
    gate.set()
    later(monkeypatch)
    for status in (502, 403):
        upstream.put("/simple/other/", b"oops", status=status)
        with pytest.raises(ExternalFailure) as caught:
            view(mirrored, "other")
        assert caught.value.code == "mirror.unreachable"


def test_an_endless_page_is_cut_off(mirrored, upstream, monkeypatch) -> None:
    monkeypatch.setattr(client, "PAGE_BYTES", 1000)
    for kind in (JSON, "text/html"):
        upstream.put("/simple/gadget/", b'<a href="x-1.tar.gz">x</a>' * 100, kind)
        with pytest.raises(ExternalFailure):
            view(mirrored)


def test_of_two_indexes_the_first_that_knows_the_name_is_asked(open_house, upstream) -> None:
    house = open_house(mirror={"upstreams": [upstream.url.replace("/simple", "/first"), upstream.url]})
    upstream.page("gadget", entry())
    assert len(view(house)) == 1
    assert upstream.paths() == ["/first/gadget/", "/simple/gadget/"]
    assert house.farm.upstream.origin("gadget") == upstream.url


def test_the_origin_that_provenance_names_holds_no_password(open_house, upstream) -> None:
    house = open_house(mirror={"upstreams": [upstream.url.replace("http://", "http://u:secret@")]})
    upstream.page("gadget", entry())
    view(house)
    assert upstream.asked[0][1]["Authorization"].startswith("Basic")
    assert house.farm.upstream.origin("gadget") == upstream.url


# Files ----------------------------------------------------------------------------------------------


def test_a_file_is_fetched_once_hashed_and_kept(mirrored, upstream) -> None:
    for _ in range(3):
        served = mirrored.farm.build_view.file("gadget", WHEEL, ["dev"])
    assert (served.sha256, served.size, served.project, served.version) == (
        sha(BYTES),
        len(BYTES),
        "gadget",
        "1.0",
    )
    assert served.origin == upstream.url
    assert mirrored.farm.blobs.read(served.sha256) == BYTES
    assert upstream.paths().count(f"/files/{WHEEL}") == 1
    assert upstream.asked[-1][1]["Accept-Encoding"] == "identity"


def refused(house, error: type[Exception], code: str) -> None:
    with pytest.raises(error) as caught:
        house.farm.build_view.file("gadget", WHEEL, ["dev"])
    assert caught.value.code == code  # type: ignore[attr-defined]
    assert not list((house.farm.blobs.root / "tmp").iterdir())


def test_wrong_bytes_are_never_kept(mirrored, upstream) -> None:
    upstream.put(f"/files/{WHEEL}", BYTES[::-1])
    refused(mirrored, IntegrityFailure, "blob.digest")
    assert not mirrored.farm.blobs.has(sha(BYTES[::-1]))
    with mirrored.database.read() as session:
        assert session.scalars(select(UpstreamFile)).all() == []


def test_more_bytes_than_the_page_says_are_cut_off(mirrored, upstream) -> None:
    upstream.put(f"/files/{WHEEL}", BYTES + b"x" * 5000)
    refused(mirrored, IntegrityFailure, "mirror.size")


def test_a_name_means_the_bytes_of_its_first_sight(mirrored, upstream, monkeypatch) -> None:
    mirrored.farm.build_view.file("gadget", WHEEL, ["dev"])
    later(monkeypatch)
    upstream.page("gadget", entry(BYTES[::-1]))
    upstream.put(f"/files/{WHEEL}", BYTES[::-1])
    assert mirrored.farm.build_view.file("gadget", WHEEL, ["dev"]).sha256 == sha(BYTES)
    mirrored.farm.blobs.delete(sha(BYTES))
    refused(mirrored, IntegrityFailure, "mirror.digest_changed")
    later(monkeypatch)
    upstream.page("gadget", entry(hashes={}))  # a page without digests does not open a way around
    refused(mirrored, IntegrityFailure, "blob.digest")


def test_a_file_that_is_gone_or_not_listed(mirrored, upstream) -> None:
    upstream.pages.pop(f"/files/{WHEEL}")
    refused(mirrored, ExternalFailure, "mirror.unreachable")
    with pytest.raises(NotFound):
        mirrored.farm.build_view.file("gadget", "gadget-9.0.tar.gz", ["dev"])


def test_many_at_once_see_one_file(mirrored) -> None:
    with ThreadPoolExecutor(6) as pool:
        calls = [pool.submit(mirrored.farm.build_view.file, "gadget", WHEEL, ["dev"]) for _ in range(6)]
        assert {call.result().sha256 for call in calls} == {sha(BYTES)}


def test_metadata_is_held_against_its_digest(mirrored, upstream) -> None:
    with pytest.raises(NotFound):
        mirrored.farm.build_view.metadata("gadget", WHEEL, ["dev"])
    told = {"core-metadata": {"sha256": sha(b"Name: gadget")}, "url": f"../../files/{WHEEL}#sha256=0"}
    upstream.page("gadget", entry(**told))
    mirrored.farm.upstream.pages.refresh("gadget")
    upstream.put(f"/files/{WHEEL}.metadata", b"Name: other")
    with pytest.raises(IntegrityFailure):
        mirrored.farm.build_view.metadata("gadget", WHEEL, ["dev"])
    upstream.put(f"/files/{WHEEL}.metadata", b"Name: gadget")
    assert mirrored.farm.build_view.metadata("gadget", WHEEL, ["dev"]) == b"Name: gadget"


def test_what_is_stored_is_served_while_upstream_is_away(mirrored, upstream, monkeypatch) -> None:
    mirrored.farm.build_view.file("gadget", WHEEL, ["dev"])
    upstream.pages.clear()
    later(monkeypatch)
    assert mirrored.farm.build_view.file("gadget", WHEEL, ["dev"]).size == len(BYTES)


# Parsing --------------------------------------------------------------------------------------------

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
KEYS = ("filename", "url", "hashes", "size", "yanked", "core-metadata", "requires-python", "upload-time")
ODD = st.sampled_from([WHEEL, "http://[", "../x", {"sha256": "a" * 64}, "http://h:99999/x"])
ENTRIES = st.fixed_dictionaries({}, optional=dict.fromkeys(KEYS, ANYTHING | ODD))


@settings(max_examples=150)
@given(st.lists(ENTRIES | ANYTHING, max_size=4))
def test_rows_that_cannot_be_understood_are_left_out(entries: list[Any]) -> None:
    good = entry(filename="good-1.tar.gz")
    page = json.dumps({"files": [*entries, good]}).encode()
    rows = parse(page, JSON, BASE).files
    assert rows["good-1.tar.gz"].sha256 == sha(BYTES)
    for row in rows.values():
        assert "/" not in row.filename
        assert row.filename.isascii()
        assert row.url.startswith(("http://", "https://"))
        assert row.size is None or row.size >= 0
        assert isinstance(row.yanked, bool | str)


@settings(max_examples=150)
@given(
    st.binary(max_size=200) | st.text(max_size=200).map(str.encode), st.sampled_from([JSON, "text/html", ""])
)
def test_no_page_crashes_the_reader(body: bytes, content_type: str) -> None:
    with contextlib.suppress(ExternalFailure):
        parse(body, content_type, BASE)


@pytest.mark.parametrize(
    "body", [b"[" * 100_000, b"[]", b"5", b'{"files": 5}', b'{"files": null}', b"{}", b"\xff"]
)
def test_pages_that_are_none(body: bytes) -> None:
    with pytest.raises(ExternalFailure):
        parse(body, JSON, BASE)


@pytest.mark.parametrize(
    "href", ["file:///etc/passwd", "ftp://x/a-1.tar.gz", "javascript:x", "data:,a-1.tar.gz", "http://["]
)
def test_other_schemes_are_not_followed(href: str) -> None:
    assert parse(json.dumps({"files": [entry(url=href)]}).encode(), JSON, BASE).files == {}
    assert parse(f'<a href="{href}">x</a>'.encode(), "text/html", BASE).files == {}
