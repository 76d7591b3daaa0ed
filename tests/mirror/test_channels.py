"""Mirror and union channels over the wire: pages and files that come from upstream when somebody asks."""

from __future__ import annotations

import hashlib
import io
import json
import os
import threading
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
import requests
from sqlalchemy import select

from buildfarm import clock
from buildfarm.errors import ExternalFailure, Forbidden
from buildfarm.index import channels, guarded, names, namespaces
from buildfarm.journal.model import JournalRow
from buildfarm.mirror import pages
from buildfarm.mirror.model import GuardEvent, Supplement
from buildfarm.mirror.policy import Policy
from tests.conftest import wheel
from tests.waiting import wait_for

JSON = "application/vnd.pypi.simple.v1+json"
WHEEL, BYTES = wheel("gadget", "1.0")
DIGEST = hashlib.sha256(BYTES).hexdigest()
METADATA = hashlib.sha256(
    zipfile.ZipFile(io.BytesIO(BYTES)).read("gadget-1.0.dist-info/METADATA")
).hexdigest()
URL = f"files/gadget/{WHEEL}"


def entry(filename: str = WHEEL, data: bytes = BYTES, **changes: Any) -> dict[str, Any]:
    digest = hashlib.sha256(data).hexdigest()
    whole = {"filename": filename, "url": f"../../files/{filename}", "hashes": {"sha256": digest}}
    return whole | {"size": len(data)} | changes


@pytest.fixture
def mirrored(open_house, upstream):
    """A farm with the channels `mirror` and `all`; upstream has one wheel of `gadget`."""
    house = open_house(mirror={"upstreams": [upstream.url], "timeout_s": 30, "stale_wait_s": 20})
    with house.database.begin() as session:
        channels.create_mirror(session)
    upstream.page("gadget", entry())
    upstream.put(f"/files/{WHEEL}", BYTES)
    house.follower.catch_up()
    return house


def ask(house, path: str, **headers: str):
    if "client" not in house.files:
        house.files["client"] = house.client(house.token("admin"))  # type: ignore[assignment]
    client = house.files["client"]
    return client.get(path, headers={"Accept": JSON, "Accept-Encoding": "gzip", **headers})


def page(house, channel: str = "mirror", name: str = "gadget") -> dict[str, Any]:
    answer = ask(house, f"/{channel}/simple/{name}/", **{"Accept-Encoding": "identity"})
    assert answer.status_code == 200, answer.data
    return json.loads(answer.data)


def later(monkeypatch, **much: float) -> None:
    moment = clock.now() + timedelta(**(much or {"minutes": 11}))
    monkeypatch.setattr(clock, "now", lambda: moment)
    monkeypatch.setattr(pages, "_RETRY_S", 0.0)


# Pages ----------------------------------------------------------------------------------------------


def test_every_key_of_upstream_survives_and_leads_to_us(mirrored, upstream) -> None:
    extra = {
        "requires-python": ">=3.9", "yanked": "bad", "upload-time": "2024-01-02T03:04:05.678901Z",
        "core-metadata": {"sha256": "a" * 64}, "provenance": "http://elsewhere.example/p",
        "x-future": {"a": [1]},
    }  # fmt: skip
    body = {
        "meta": {"api-version": "1.9"}, "name": "gadget", "files": [entry(**extra)], "x-page": 7,
        "project-status": {"status": "archived", "reason": "done"}, "versions": ["1.0"],
        "alternate-locations": ["http://elsewhere.example/"],
    }  # fmt: skip
    upstream.put("/simple/gadget/", json.dumps(body).encode(), JSON)
    shown = page(mirrored)
    assert shown["files"] == [
        {
            **entry(), **extra, "url": f"../../files/gadget/{WHEEL}",
            "data-dist-info-metadata": {"sha256": "a" * 64},
            "provenance": f"http://farm.example/mirror/files/gadget/{WHEEL}.provenance",
        }
    ]  # fmt: skip
    assert shown["project-status"] == {"status": "archived", "reason": "done"}
    assert (shown["x-page"], shown["versions"], shown["_upstream"]) == (7, ["1.0"], upstream.url)
    assert "alternate-locations" not in shown
    assert shown["meta"]["api-version"] == "1.4"
    html = ask(mirrored, "/mirror/simple/gadget/", Accept="text/html", **{"Accept-Encoding": "identity"}).text
    for told in (f"#sha256={DIGEST}", 'data-yanked="bad"', "&gt;=3.9", "/mirror/files/gadget/", "archived"):
        assert told in html


def test_a_page_in_the_tree_asks_nobody_until_it_is_old(mirrored, upstream, monkeypatch) -> None:
    upstream.page("gadget", entry(), ETag='"one"')
    first = ask(mirrored, "/mirror/simple/gadget/")
    for _ in range(3):
        assert ask(mirrored, "/mirror/simple/gadget/").headers["ETag"] == first.headers["ETag"]
    mirrored.farm.mirrored.sweep()
    assert mirrored.tree.find("mirror/simple/gadget.json.gz")
    assert upstream.paths() == ["/simple/gadget/"]
    later(monkeypatch)
    mirrored.farm.mirrored.sweep()
    assert not mirrored.tree.find("mirror/simple/gadget.json.gz")
    same = ask(mirrored, "/mirror/simple/gadget/", **{"If-None-Match": first.headers["ETag"]})
    assert (same.status_code, upstream.paths()) == (304, ["/simple/gadget/"] * 2)
    upstream.page("gadget", entry(), entry("gadget-2.0.tar.gz"))
    later(monkeypatch)
    mirrored.farm.mirrored.sweep()
    fresh = ask(mirrored, "/mirror/simple/gadget/", **{"If-None-Match": first.headers["ETag"]})
    assert (fresh.status_code, fresh.headers["X-PyPI-Last-Serial"]) == (200, "2")


def test_a_restart_while_upstream_is_away_still_serves(mirrored, upstream, open_house, monkeypatch) -> None:
    before = page(mirrored)
    assert ask(mirrored, f"/mirror/{URL}").data == BYTES
    upstream.pages.clear()
    gate = threading.Event()
    upstream.before = lambda path: "gadget" in path and gate.wait(20)
    later(monkeypatch)
    mirrored.farm.mirrored.sweep()
    again = open_house(mirror={"upstreams": [upstream.url], "timeout_s": 1.0, "stale_wait_s": 0.1})
    begun = time.monotonic()
    assert page(again)["files"][0] == {
        **before["files"][0],  # and what is known since the file is here
        **{key: {"sha256": METADATA} for key in ("core-metadata", "data-dist-info-metadata")},
    }
    assert time.monotonic() - begun < 10
    gate.set()
    assert ask(again, f"/mirror/{URL}").data == BYTES
    upstream.put("/simple/unseen/", b"", status=502)
    assert ask(again, "/mirror/simple/unseen/").status_code == 503


def test_the_list_of_projects_has_what_is_known(mirrored, put) -> None:
    page(mirrored)
    put(mirrored, "widget-1.0-py3-none-any.whl", b"ours", channel="stable")

    def listed(channel: str) -> list[str]:
        answer = ask(mirrored, f"/{channel}/simple/", **{"Accept-Encoding": "identity"})
        return [row["name"] for row in json.loads(answer.data)["projects"]]

    assert (listed("mirror"), listed("all")) == (["gadget"], ["gadget", "widget"])


@pytest.mark.parametrize("name", ["unknown", "x" * 200, "a-b"])
def test_what_nobody_has_is_not_found(mirrored, name: str) -> None:
    assert ask(mirrored, f"/mirror/simple/{name}/").status_code == 404
    assert ask(mirrored, f"/all/files/{name}/{name}-1.0.tar.gz").status_code == 404


def test_a_quarantined_project_offers_nothing(mirrored, upstream, monkeypatch) -> None:
    page(mirrored)
    assert ask(mirrored, f"/mirror/{URL}").status_code == 200
    body = {"files": [], "project-status": {"status": "quarantined"}}
    upstream.put("/simple/gadget/", json.dumps(body).encode(), JSON)
    later(monkeypatch)
    mirrored.farm.mirrored.sweep()
    assert page(mirrored)["files"] == []
    assert ask(mirrored, f"/mirror/{URL}").status_code == 403


# Union ----------------------------------------------------------------------------------------------


def test_a_name_of_ours_is_never_asked_upstream_and_the_attempt_is_counted(mirrored, upstream, put) -> None:
    upstream.page("widget", entry("widget-9.0.tar.gz"))
    put(mirrored, "widget-1.0-py3-none-any.whl", b"ours", channel="dev")
    for channel in ("all", "mirror", "all"):
        assert ask(mirrored, f"/{channel}/simple/widget/").status_code == 404
        assert ask(mirrored, f"/{channel}/files/widget/widget-9.0.tar.gz").status_code == 404
    put(mirrored, "widget-1.1-py3-none-any.whl", b"more", channel="stable")
    assert [file["filename"] for file in page(mirrored, "all", "widget")["files"]] == [
        "widget-1.1-py3-none-any.whl"
    ]
    assert ask(mirrored, "/all/files/widget/widget-1.1-py3-none-any.whl").data == b"more"
    assert upstream.paths() == []
    mirrored.farm.upstream.tally.write()
    with mirrored.database.read() as session:
        event = session.get_one(GuardEvent, ("mirror", "widget", "name-is-ours"))
        assert (event.count, session.get_one(GuardEvent, ("all", "widget", "name-is-ours")).count) == (2, 4)


def test_a_reserved_name_and_one_that_becomes_ours_are_taken_out_at_once(mirrored, upstream, put) -> None:
    upstream.page("acme-tool", entry("acme_tool-1.0.tar.gz"))
    assert page(mirrored, "all", "acme-tool")["files"]
    with mirrored.database.begin() as session:
        namespaces.add(session, "acme", [], actor="test")
    mirrored.follower.catch_up()
    assert ask(mirrored, "/all/simple/acme-tool/").status_code == 404
    assert page(mirrored, "all", "gadget")["files"]
    with mirrored.database.begin() as session:
        names.add_local(session, "gadget", "gadget", actor="test")
    mirrored.follower.catch_up()
    assert ask(mirrored, "/all/simple/gadget/").status_code == 404
    assert upstream.paths() == ["/simple/acme-tool/", "/simple/gadget/"]


def test_a_supplement_joins_what_upstream_has_and_hides_nothing(mirrored, upstream) -> None:
    made, data = wheel("gadget", "1.0", tag="cp313-cp313-manylinux_2_28_x86_64")
    sha256 = mirrored.farm.blobs.put_bytes(data)
    with mirrored.database.begin() as session:
        session.add(
            Supplement(
                filename=made, project="gadget", version="1.0", sha256=sha256, size=len(data),
                uploaded_at=clock.now(), metadata_sha256=mirrored.farm.blobs.put_bytes(b"meta"),
            )
        )  # fmt: skip
    assert [file["filename"] for file in page(mirrored, "all")["files"]] == [made, WHEEL]
    assert [file["filename"] for file in page(mirrored, "mirror")["files"]] == [WHEEL]
    assert ask(mirrored, f"/all/files/gadget/{made}").data == data
    assert ask(mirrored, f"/all/files/gadget/{made}.metadata").data == b"meta"
    assert ask(mirrored, f"/mirror/files/gadget/{made}").status_code == 404


# Policy ---------------------------------------------------------------------------------------------


def test_a_policy_holds_for_page_metadata_and_file_alike(mirrored, upstream) -> None:
    upstream.page("gadget", entry(), entry("gadget-1.0.tar.gz", b"sdist"))
    assert len(page(mirrored)["files"]) == 2
    with mirrored.database.begin() as session:
        guarded.set_policy(session, "mirror", Policy(file_types=("sdist",)), actor="test")
    mirrored.follower.catch_up()
    for channel in ("mirror", "all"):
        assert [file["filename"] for file in page(mirrored, channel)["files"]] == ["gadget-1.0.tar.gz"]
        for path in (URL, f"{URL}.metadata", f"{URL}.provenance"):
            answer = ask(mirrored, f"/{channel}/{path}")
            assert (answer.status_code, answer.json["code"]) == (403, "mirror.policy")
            assert "wheel" in answer.status
    assert f"/files/{WHEEL}" not in upstream.paths()
    mirrored.farm.upstream.tally.write()
    with mirrored.database.read() as session:
        assert session.get_one(GuardEvent, ("all", "gadget", "file-type")).count == 3


def test_a_page_that_time_alone_changes_is_made_again(mirrored, upstream, monkeypatch) -> None:
    upstream.page("gadget", entry(**{"upload-time": clock.iso(clock.now() - timedelta(days=2))}))
    with mirrored.database.begin() as session:
        guarded.set_policy(session, "mirror", Policy(minimum_age_days=2.001), actor="test")
    mirrored.follower.catch_up()
    assert page(mirrored)["files"] == []
    mirrored.farm.mirrored.sweep()
    assert mirrored.tree.find("mirror/simple/gadget.json.gz")
    later(monkeypatch, minutes=2)
    mirrored.farm.mirrored.sweep()
    assert len(page(mirrored)["files"]) == 1


# Files ----------------------------------------------------------------------------------------------


def test_a_file_comes_once_and_is_then_like_any_other(mirrored, upstream) -> None:
    head = mirrored.client(mirrored.token("admin", name="another")).head(f"/mirror/{URL}")
    assert head.headers["Content-Length"] == str(len(BYTES))
    assert f"/files/{WHEEL}" not in upstream.paths()
    first = ask(mirrored, f"/mirror/{URL}")
    second = ask(mirrored, f"/mirror/{URL}")
    assert first.data == second.data == BYTES
    assert {**first.headers, "X-Request-ID": ""} == {**second.headers, "X-Request-ID": ""}
    part = ask(mirrored, f"/mirror/{URL}", Range="bytes=-5")
    assert (part.status_code, part.data) == (206, BYTES[-5:])
    assert ask(mirrored, f"/all/{URL}").data == BYTES
    assert upstream.paths().count(f"/files/{WHEEL}") == 1


def test_a_range_of_a_file_that_is_not_here_is_right_too(mirrored) -> None:
    part = ask(mirrored, f"/mirror/{URL}", Range="bytes=2-5")
    assert (part.status_code, part.data) == (206, BYTES[2:6])


def test_metadata_and_provenance_come_through_us(mirrored, upstream, monkeypatch) -> None:
    told = hashlib.sha256(b"Name: gadget").hexdigest()
    upstream.page("gadget", entry(**{"core-metadata": {"sha256": told}, "provenance": "../../p.json"}))
    upstream.put(f"/files/{WHEEL}.metadata", b"Name: gadget")
    document = json.dumps({"version": 1, "attestation_bundles": []}).encode()
    upstream.put("/p.json", document)
    assert ask(mirrored, f"/mirror/{URL}.metadata").data == b"Name: gadget"
    shown = ask(mirrored, f"/mirror/{URL}.provenance")
    assert (shown.data, shown.headers["Content-Type"]) == (document, "application/vnd.pypi.integrity.v1+json")
    assert ask(mirrored, f"/mirror/{URL}.provenance").data == document
    assert upstream.paths().count("/p.json") == 1
    upstream.put("/p.json", b"[]")
    later(monkeypatch)
    mirrored.farm.mirrored.sweep()
    page(mirrored)
    assert ask(mirrored, f"/mirror/{URL}.provenance").data == document
    upstream.put(f"/files/{WHEEL}.metadata", b"Name: other")


def test_a_file_that_breaks_a_rule_is_refused_with_its_sentence(mirrored, upstream) -> None:
    evil = BYTES.replace(b"x = 1", b"x = 2") + b"tail"
    upstream.page("gadget", entry(data=evil))
    gate = threading.Event()
    upstream.acts[f"/files/{WHEEL}"] = drip(evil, 2, gate)
    page(mirrored)
    answer = ask(mirrored, f"/mirror/{URL}")  # it has begun
    gate.set()
    with pytest.raises(Forbidden, match="does not pass the file on"):
        _ = answer.data
    mirrored.follower.catch_up()
    for _ in range(2):
        answer = ask(mirrored, f"/mirror/{URL}")
        assert (answer.status_code, answer.json["code"]) == (403, "mirror.refused")
        assert "Z-01" in answer.status
    assert page(mirrored)["files"] == []
    assert upstream.paths().count(f"/files/{WHEEL}") == 1
    assert not mirrored.farm.blobs.has(hashlib.sha256(evil).hexdigest())


def test_a_file_that_could_not_be_checked_is_not_refused_for_good(mirrored, monkeypatch) -> None:
    page(mirrored)
    tried = []
    with monkeypatch.context() as crashing:
        crashing.setattr("buildfarm.wheels.validate.sandbox.ask", lambda *_: tried.append(1) or b"")
        for _again in range(2):  # each try costs a download and what the check may use
            with pytest.raises(ExternalFailure, match="V-01"):
                mirrored.farm.upstream.file("gadget", WHEEL)
        assert len(tried) == 1
    later = SimpleNamespace(monotonic=lambda: time.monotonic() + 61, sleep=time.sleep)
    monkeypatch.setattr("buildfarm.mirror.files.time", later)
    assert ask(mirrored, f"/mirror/{URL}").data == BYTES
    with mirrored.database.read() as session:
        kinds = session.scalars(select(JournalRow.kind)).all()
    assert ("mirror.first_sight" in kinds, "mirror.refuse" in kinds) == (True, False)


# Over real processes --------------------------------------------------------------------------------


def get(url: str, token: str, **more: Any) -> requests.Response:
    return requests.get(url, auth=("__token__", token), timeout=30, **more)


def drip(data: bytes, parts: int, gate: threading.Event, *, announced: int | None = None):
    def act(handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(announced or len(data)))
        handler.end_headers()
        step = len(data) // parts + 1
        handler.wfile.write(data[:step])
        handler.wfile.flush()
        gate.wait(20)
        for start in range(step, len(data), step):
            handler.wfile.write(data[start : start + step])

    return act


@pytest.mark.system
def test_a_hundred_clients_make_one_fetch_and_read_along(mirrored, upstream, serve) -> None:
    filename, data = wheel("gadget", "3.0", code="x = '" + os.urandom(200_000).hex() + "'\n")
    upstream.page("gadget", entry(filename, data))
    gate = threading.Event()
    upstream.acts[f"/files/{filename}"] = drip(data, 8, gate)
    url, token = serve(mirrored, workers=2, threads=64), mirrored.token("admin")
    assert get(f"{url}/mirror/simple/gadget/", token).status_code == 200
    begun: list[float] = []

    def take(_number: int) -> bytes:
        with get(f"{url}/mirror/files/gadget/{filename}", token, stream=True) as answer:
            first = answer.raw.read1(100)
            begun.append(time.monotonic())
            return first + b"".join(answer.iter_content(1 << 16))

    with ThreadPoolExecutor(100) as pool:
        taken = [pool.submit(take, number) for number in range(100)]
        wait_for(lambda: len(begun) == 100)  # each has bytes, and upstream has not sent all of them
        gate.set()
        assert all(one.result() == data for one in taken)
    assert upstream.paths().count(f"/files/{filename}") == 1


@pytest.mark.system
def test_a_file_that_is_not_what_was_announced_is_cut_before_its_last_byte(mirrored, upstream, serve) -> None:
    lie = BYTES[:-1] + b"!"
    url, token = serve(mirrored), mirrored.token("admin")
    for data in (lie, BYTES[:-20]):
        gate = threading.Event()
        upstream.acts[f"/files/{WHEEL}"] = drip(data, 2, gate, announced=len(BYTES))
        with get(f"{url}/mirror/{URL}", token, stream=True) as answer:
            assert answer.status_code == 200
            gate.set()
            with pytest.raises(requests.exceptions.RequestException):
                _ = answer.content
    assert not mirrored.farm.blobs.has(DIGEST)
    assert not list((mirrored.farm.blobs.root / "tmp").iterdir())
    upstream.acts[f"/files/{WHEEL}"] = drip(BYTES, 3, gate)
    assert get(f"{url}/mirror/{URL}", token).content == BYTES
