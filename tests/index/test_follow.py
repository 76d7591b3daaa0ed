from __future__ import annotations

import gzip
import json
import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

from buildfarm import clock
from buildfarm.index import projectpages, promote, withdraw
from buildfarm.index.follow import PageFollower
from buildfarm.index.model import Channel, Follower
from buildfarm.index.pagetree import FORMS, ON_DEMAND, ROOT
from buildfarm.journal.record import record, size

WHEEL = "widget-1.0-py3-none-any.whl"


def page(house, channel: str, name: str) -> dict[str, Any]:
    file = house.tree.find(f"{channel}/simple/{name}.json.gz")
    return json.loads(gzip.decompress(Path(file.path).read_bytes())) if file else {}


def html(house, channel: str, name: str) -> str:
    return gzip.decompress(
        Path(house.tree.find(f"{channel}/simple/{name}.html.gz").path).read_bytes()
    ).decode()


def listed(house, channel: str, name: str = ROOT) -> list[str]:
    told = page(house, channel, name)
    return [entry.get("filename", entry.get("name")) for entry in told.get("files", told.get("projects", []))]


def stored(house, folder: str) -> dict[str, tuple[int, bytes]]:
    paths = [path for path in (house.tree.root / folder).rglob("*") if path.is_file()]
    return {
        str(path.relative_to(house.tree.root)): (int(path.stat().st_mtime), path.read_bytes())
        for path in paths
    }


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
        assert page(house, channel, "widget")["files"][0]["yanked"] == "broken"
        assert 'data-yanked="broken"' in html(house, channel, "widget")
    with house.database.begin() as session:
        promote.unyank(session, project="widget", version="1.0", actor="ada")
        promote.undo(session, promotion.id, actor="ada")
    house.follower.catch_up()
    assert listed(house, "staging") == listed(house, "staging", "widget") == []
    assert house.tree.listing("staging/files/widget") == set()
    assert house.tree.listing("dev/files/widget") == {WHEEL, f"{WHEEL}.metadata"}
    assert page(house, "dev", "widget")["files"][0]["yanked"] is False


def test_two_renderings_without_a_change_give_the_same_bytes(house, put, tmp_path) -> None:
    put(house, WHEEL, b"one")
    with house.database.begin() as session:
        record(session, "test")
    before = stored(house, "dev")
    house.tree.set_serial(-1)
    house.follower.catch_up()
    assert stored(house, "dev") == before


def test_whatever_changes_led_there_the_tree_is_that_of_a_first_rendering(house, put, monkeypatch) -> None:
    monkeypatch.setattr(projectpages, "_SPAN", 3)
    whole = []
    rendered = house.follower._render

    def note(project, **more) -> None:
        whole.append(project.name)
        rendered(project, **more)

    monkeypatch.setattr(house.follower, "_render", note)
    house.follower.catch_up()
    versions = [f"{number}.0" for number in range(12)]
    for version in versions[::2] + versions[1::2]:
        put(house, f"widget-{version}-py3-none-any.whl", version.encode(), metadata=version.encode())
        put(house, f"widget-{version}.tar.gz", b"s" + version.encode(), metadata=b"p", provenance=b"{}")
    put(house, "other-1.0.tar.gz", b"other")
    with house.database.begin() as session:
        for version in versions[3:6]:
            promotion = promote.promote(
                session,
                project="widget",
                version=version,
                from_channel="dev",
                to_channel="staging",
                actor="a",
            )
    house.follower.catch_up()
    with house.database.begin() as session:
        promote.yank(session, project="widget", version="4.0", reason="bad", actor="ada")
        promote.undo(session, promotion.id, actor="ada")
    house.follower.catch_up()
    for version, names in (("7.0", ["widget-7.0.tar.gz"]), ("8.0", [])):
        with house.database.begin() as session:
            withdraw.withdraw(
                session, project="widget", version=version, filenames=names, reason="wrong", actor="ada"
            )
        house.follower.catch_up()
    # The first file of each project makes its name local, which is a row about all of it.
    assert whole == ["widget", "other"]
    news = (("dev", "widget 11.0", "widget 8.0"), ("staging", "widget 4.0", "widget 5.0"))
    house.wait_for(
        lambda: (
            house.follower.catch_up()
            and all(
                here in updates(house, name) and gone not in updates(house, name) for name, here, gone in news
            )
        )
    )
    before = stored(house, "")
    shutil.rmtree(house.tree.root)
    again = PageFollower(house.database, house.farm.blobs, house.tree, house.farm.settings)
    again.catch_up()
    assert listed(house, "dev") == ["other", "widget"]
    assert len(listed(house, "dev", "widget")) == 21
    after = stored(house, "")
    assert after.keys() == before.keys()
    assert {path for path in after if after[path] != before[path]} <= {"serial"}


def test_a_channel_that_becomes_another_kind_keeps_no_sign_of_the_old_one(house, put) -> None:
    put(house, WHEEL, b"one")
    for kind, is_on_demand in (("mirror", True), ("durable", False)):
        with house.database.begin() as session:
            session.get(Channel, "staging").kind = kind
            record(session, "channel.set", channel="staging")
        house.follower.catch_up()
        assert (house.tree.find(f"staging/{ON_DEMAND}") is not None) == is_on_demand
    put(house, "widget-2.0-py3-none-any.whl", b"two", channel="staging")
    assert listed(house, "staging") == ["widget"]


def updates(house, channel: str) -> str:
    return gzip.decompress(house.tree.read(f"{channel}/rss/updates.xml.gz")).decode()


def test_a_tree_ahead_of_its_database_is_rendered_anew_and_forgets_what_is_gone(house, put) -> None:
    """A database restored from a backup is behind the pages that are still on disk."""
    put(house, WHEEL, b"one")
    house.tree.put_page("dev", "later", dict.fromkeys(FORMS, b"{}"), 99)
    house.tree.set_serial(99)
    with house.database.read() as session:
        newest = size(session)
    assert house.follower.catch_up() == newest == house.tree.serial
    assert page(house, "dev", "later") == {}
    assert listed(house, "dev") == ["widget"]


def test_pages_of_channels_that_web_answers_for_are_made_when_somebody_asks(house, put) -> None:
    with house.database.begin() as session:
        session.add(Channel(name="all", kind="union", rank=9, public=False, parts=["dev"]))
        record(session, "channel.create", channel="all")
    house.follower.catch_up()
    assert house.tree.find("all/.on-demand")
    house.tree.put_page("all", "widget", dict.fromkeys(FORMS, b"{}"), 1)
    put(house, WHEEL, b"one")
    assert page(house, "all", "widget") == {}


def test_a_node_that_stays_behind_is_not_ready(house) -> None:
    house.follower.catch_up()
    for _ in range(3):
        with house.database.begin() as session:
            record(session, "test")
    assert house.farm.visibility.is_current(house.farm.settings.node), "rendering takes a moment"
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
