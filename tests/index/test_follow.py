from __future__ import annotations

import json
import threading
import time
from datetime import timedelta

from buildfarm import clock
from buildfarm.index import promote
from buildfarm.index.follow import is_current, wait_visible
from buildfarm.index.model import Follower
from buildfarm.journal.record import record, size

WHEEL = "widget-1.0-py3-none-any.whl"


def listed(house, channel: str, name: str = "_root") -> list[str]:
    page = house.tree.read(channel, name)
    if page is None:
        return []
    told = json.loads(page.body("index.json"))
    return [entry.get("filename", entry.get("name")) for entry in told.get("files", told.get("projects"))]


def test_pages_follow_every_kind_of_change(each_house, put) -> None:
    house = each_house
    house.follower.catch_up()
    assert listed(house, "dev") == listed(house, "stable") == []
    put(house, WHEEL, b"one", metadata=b"meta")
    assert listed(house, "dev") == ["widget"]
    assert listed(house, "dev", "widget") == [WHEEL]
    with house.database.begin() as session:
        promotion = promote.promote(
            session, project="Widget", version="1.0", from_channel="dev", to_channel="staging", actor="ada"
        )
    house.follower.catch_up()
    assert listed(house, "staging", "widget") == [WHEEL]
    with house.database.begin() as session:
        promote.yank(session, project="widget", version="1.0", reason="broken", actor="ada")
    house.follower.catch_up()
    for channel in ("dev", "staging"):
        page = house.tree.read(channel, "widget")
        assert json.loads(page.body("index.json"))["files"][0]["yanked"] == "broken"
        assert b'data-yanked="broken"' in page.body("index.html")
    with house.database.begin() as session:
        promote.unyank(session, project="widget", version="1.0", actor="ada")
        promote.undo(session, promotion.id, actor="ada")
    house.follower.catch_up()
    assert listed(house, "staging") == listed(house, "staging", "widget") == []
    assert json.loads(house.tree.read("dev", "widget").body("index.json"))["files"][0]["yanked"] is False


def test_two_renderings_without_a_change_give_the_same_bytes(house, put, tmp_path) -> None:
    put(house, WHEEL, b"one")
    page = house.tree.read("dev", "widget")
    before = {form: page.body(form) for form in page.etags}
    house.tree.set_serial(-1)
    house.follower.catch_up()
    again = house.tree.read("dev", "widget")
    assert again.folder != page.folder
    assert {form: again.body(form) for form in again.etags} == before
    assert again.etags == page.etags


def test_a_tree_ahead_of_its_database_is_rendered_anew_and_forgets_what_is_gone(house, put) -> None:
    """A database restored from a backup is behind the pages that are still on disk."""
    put(house, WHEEL, b"one")
    house.tree.write("dev", "later", {"index.json": b"{}", "index.html": b""}, {}, 99)
    house.tree.set_serial(99)
    with house.database.read() as session:
        newest = size(session)
    assert house.follower.catch_up() == newest == house.tree.serial
    assert house.tree.read("dev", "later") is None
    assert listed(house, "dev") == ["widget"]


def test_a_writer_waits_until_every_live_node_shows_its_change(house) -> None:
    house.follower.catch_up()
    with house.database.begin() as session:
        session.add(Follower(node="dead", serial=0, seen_at=clock.now() - timedelta(minutes=5)))
        record(session, "test")
    serial = int(session.info["serial"])
    assert not wait_visible(house.database, serial, 0.1)
    timer = threading.Timer(0.2, house.follower.catch_up)
    timer.start()
    started = time.monotonic()
    assert wait_visible(house.database, serial, 20)
    assert time.monotonic() - started < 10
    timer.join()
    assert is_current(house.database, house.farm.settings.node)


def test_a_node_that_stays_behind_is_not_ready(house) -> None:
    house.follower.catch_up()
    for _ in range(3):
        with house.database.begin() as session:
            record(session, "test")
    assert is_current(house.database, house.farm.settings.node), "rendering takes a moment"
    with house.database.begin() as session:
        row = session.get_one(Follower, house.farm.settings.node)
        row.seen_at = clock.now() - timedelta(seconds=6)
    answer = house.client().get("/readyz")
    assert (answer.status_code, answer.json["checks"]) == (503, {"database": True, "pages": False})
    house.follower.catch_up()
    assert house.client().get("/readyz").status_code == 200
    assert house.client().get("/healthz").json == {"status": "ok"}


def test_reading_needs_neither_database_nor_redis(house, put, tmp_path) -> None:
    put(house, WHEEL, b"one")
    client = house.client(house.token("read:dev"))
    assert client.get("/dev/simple/widget/").status_code == 200
    house.database.close()
    (tmp_path / "farm.db").rename(tmp_path / "away.db")
    assert client.get("/dev/simple/widget/").status_code == 200
    assert client.get(f"/dev/files/widget/{WHEEL}").data == b"one"
    (tmp_path / "away.db").rename(tmp_path / "farm.db")
