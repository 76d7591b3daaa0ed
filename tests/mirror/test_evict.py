"""Room for upstream files: what was used longest ago goes first, what something else needs stays."""

from __future__ import annotations

import hashlib
import os
from datetime import timedelta

import pytest

from buildfarm import clock
from buildfarm.index import channels
from buildfarm.mirror.model import UpstreamFile
from tests.conftest import wait_for, wheel

FILES = dict(wheel("gadget", f"{number}.0") for number in range(1, 5))
SIZE = max(map(len, FILES.values()))


@pytest.fixture
def full(open_house, upstream):
    """Four files of one size are here, used one after the other; there is room for three."""
    house = open_house(mirror={"upstreams": [upstream.url], "max_bytes": 3 * SIZE})
    with house.database.begin() as session:
        channels.create_mirror(session)
    entries = []
    for filename, data in FILES.items():
        upstream.put(f"/files/{filename}", data)
        hashes = {"sha256": hashlib.sha256(data).hexdigest()}
        entries.append(
            {"filename": filename, "url": f"/files/{filename}", "hashes": hashes, "size": len(data)}
        )
    upstream.page("gadget", *entries)
    for age, filename in zip((40, 30, 20, 10), FILES, strict=True):
        file = house.farm.upstream.file("gadget", filename)
        moment = (clock.now() - timedelta(days=age)).timestamp()
        os.utime(house.farm.blobs.path(file.sha256), (moment, moment))
    house.farm.upstream.tally.write()
    with house.database.begin() as session:
        for file in session.query(UpstreamFile):
            file.last_used_at = clock.now() - timedelta(days=50)
    return house


def here(house) -> list[bool]:
    return [house.farm.blobs.has(hashlib.sha256(data).hexdigest()) for data in FILES.values()]


def later(monkeypatch, **much: float) -> None:
    moment = clock.now() + timedelta(**much)
    monkeypatch.setattr(clock, "now", lambda: moment)


def test_the_longest_unused_go_after_a_grace_time(full, upstream, monkeypatch) -> None:
    full.farm.mirrored.make_room()
    assert here(full) == [True] * 4
    later(monkeypatch, minutes=11)
    full.farm.mirrored.make_room()
    assert here(full) == [False, False, True, True]
    upstream.asked.clear()
    first = next(iter(FILES))
    assert full.farm.upstream.file("gadget", first).size == len(FILES[first])  # and comes back when asked for
    assert f"/files/{first}" in upstream.paths()


def test_a_file_that_is_used_within_the_grace_time_stays(full, monkeypatch) -> None:
    full.farm.mirrored.make_room()
    later(monkeypatch, minutes=5)
    full.farm.upstream.files.held(next(iter(FILES)))
    full.farm.upstream.tally.write()
    later(monkeypatch, minutes=6)
    full.farm.mirrored.make_room()
    assert here(full) == [True, False, True, True]


def test_what_a_front_reads_within_the_grace_time_stays_though_it_was_read_today_before(
    full, monkeypatch
) -> None:
    paths = [full.farm.blobs.path(hashlib.sha256(data).hexdigest()) for data in FILES.values()]
    for path in paths:  # the kernel notes a read of today once, unless the file has changed since
        wait_for(lambda path=path: path.read_bytes() and path.stat().st_atime > path.stat().st_ctime)
    wait_for(lambda: clock.now().timestamp() > paths[-1].stat().st_atime)
    full.farm.mirrored.make_room()
    marked = clock.now()
    wait_for(lambda: clock.now() > marked + timedelta(seconds=0.05))  # the kernel's is a tick behind
    paths[0].read_bytes()  # no web process hears of it
    later(monkeypatch, minutes=11)
    full.farm.mirrored.make_room()
    assert here(full) == [True, False, True, True]


def test_bytes_that_a_local_file_needs_never_go(full, put, monkeypatch) -> None:
    put(full, "widget-1.0-py3-none-any.whl", next(iter(FILES.values())))
    for _ in range(3):
        full.farm.mirrored.make_room()
        later(monkeypatch, minutes=11)
    assert here(full)[0]


def test_an_administrator_may_let_go_of_a_project(full, upstream, monkeypatch) -> None:
    client = full.client(full.token("admin"))
    shown = client.post("/api/v1/mirror/projects/gadget/evict").json
    assert [file["filename"] for file in shown["held"]] == list(FILES)
    later(monkeypatch, minutes=11)
    full.farm.mirrored.make_room()
    assert here(full) == [False] * 4
    rows = client.get("/api/v1/mirror/projects").json["items"]
    assert [(row["name"], row["files"]) for row in rows] == [("gadget", 0)]
    assert client.post("/api/v1/mirror/projects/gadget/refresh").status_code == 200
    asked = {row["upstream"]: row for row in client.get("/api/v1/mirror/upstreams").json["items"]}
    assert asked[upstream.url]["pages"] >= 1
    assert client.get("/api/v1/mirror/projects/other").status_code == 404
