"""Channels of each kind, and withdrawal: what leaves every channel for good."""

from __future__ import annotations

import json

import pytest
from sqlalchemy import select

from buildfarm.errors import Conflict, FarmError, InvalidInput, NotFound
from buildfarm.index import channels, promote, withdraw
from buildfarm.index.model import ChannelEntry, File
from buildfarm.journal.model import JournalRow

WHEEL, SDIST = "widget-1.0-py3-none-any.whl", "widget-1.0.tar.gz"
KIND = {"kind": "durable", "parts": [], "public": False, "actor": "ada"}


def create(house, name: str, **what) -> None:
    with house.database.begin() as session:
        channels.create(session, name, **(KIND | what))


def take_out(house, *filenames: str, version: str = "1.0", reason: str = "A key leaked.") -> list[File]:
    with house.database.begin() as session:
        return withdraw.withdraw(
            session, project="Widget", version=version, filenames=filenames, reason=reason, actor="ada"
        )


def live(house) -> set[tuple[str, str]]:
    with house.database.read() as session:
        entries = select(ChannelEntry).where(ChannelEntry.until.is_(None))
        return {(entry.channel, entry.filename) for entry in session.scalars(entries)}


def test_channels_of_each_kind(house) -> None:
    create(house, "canary")
    create(house, "pypi-guarded", kind="mirror")
    create(house, "all", kind="union", parts=["stable", "pypi-guarded"], public=True)
    with house.database.begin() as session:
        channels.change(session, "all", parts=["dev", "pypi-guarded"], public=False, actor="ada")
    with house.database.read() as session:
        union = channels.get(session, "all")
        assert (union.parts, union.public, union.kind) == (["dev", "pypi-guarded"], False, "union")
        assert channels.get(session, "canary").rank > channels.get(session, "stable").rank
        rows = session.scalars(select(JournalRow).where(JournalRow.kind == "channel.set"))
        (body,) = [json.loads(row.body) for row in rows]
    assert (body["channel"], body["parts"], body["actor"]) == ("all", ["dev", "pypi-guarded"], "ada")


@pytest.mark.parametrize(
    ("name", "what", "code"),
    [
        ("Dev", {}, "channel.name"),
        ("1st", {}, "channel.name"),
        ("a@b", {}, "channel.name"),
        ("x" * 64, {}, "channel.name"),
        ("api", {}, "channel.name"),
        ("metrics", {}, "channel.name"),
        ("dev", {}, "channel.exists"),
        ("x", {"kind": "lake"}, "channel.kind"),
        ("x", {"kind": "union"}, "channel.parts"),
        ("x", {"kind": "union", "parts": ["none"]}, "channel.parts"),
        ("x", {"kind": "union", "parts": ["dev", "dev"]}, "channel.parts"),
        ("x", {"parts": ["dev"]}, "channel.parts"),
    ],
)
def test_what_cannot_be_a_channel(house, name: str, what: dict, code: str) -> None:
    with pytest.raises(FarmError) as refused:
        create(house, name, **what)
    assert refused.value.code == code


def test_a_union_is_no_part_of_a_union(house) -> None:
    create(house, "all", kind="union", parts=["dev"])
    with pytest.raises(InvalidInput):
        create(house, "more", kind="union", parts=["all"])


def test_no_channel_takes_the_place_of_another_url(house) -> None:
    parts = {str(rule).split("/")[1] for rule in house.app.url_map.iter_rules()}
    assert {part for part in parts if part.isalpha()} <= channels.RESERVED


def test_only_durable_channels_take_files(house, put) -> None:
    put(house, WHEEL, b"one")
    create(house, "mirrored", kind="mirror")
    with pytest.raises(Conflict) as refused, house.database.begin() as session:
        promote.promote(
            session, project="widget", version="1.0", from_channel="dev", to_channel="mirrored", actor="ada"
        )
    assert refused.value.code == "channel.not_durable"


def test_what_is_withdrawn_leaves_every_channel_and_never_comes_back(each_house, put) -> None:
    house = each_house
    sha256 = put(house, WHEEL, b"one")
    put(house, SDIST, b"two")
    with house.database.begin() as session:
        promote.promote(
            session, project="widget", version="1.0", from_channel="dev", to_channel="staging", actor="ada"
        )
    assert [file.filename for file in take_out(house, WHEEL)] == [WHEEL]
    assert live(house) == {("dev", SDIST), ("staging", SDIST)}
    house.follower.catch_up()
    client = house.client(house.token("admin"))
    assert client.get(f"/dev/files/widget/{WHEEL}").status_code == 404
    assert WHEEL not in client.get("/staging/simple/widget/").text
    with pytest.raises(Conflict) as refused:
        take_out(house, WHEEL)
    assert refused.value.code == "file.withdrawn"
    take_out(house)
    assert live(house) == set()
    with pytest.raises(NotFound), house.database.begin() as session:
        promote.promote(
            session, project="widget", version="1.0.0", from_channel="dev", to_channel="stable", actor="ada"
        )
    with house.database.read() as session:
        rows = session.scalars(select(JournalRow).where(JournalRow.kind == "withdraw"))
        first = json.loads(rows.first().body)
    assert first["files"] == [{"filename": WHEEL, "sha256": sha256}]
    assert (first["reason"], first["actor"], first["project"]) == ("A key leaked.", "ada", "widget")


@pytest.mark.parametrize(
    ("filenames", "version", "reason", "code"),
    [
        ((), "2.0", "x", "release.unknown"),
        (("other.whl",), "1.0", "x", "file.unknown"),
        ((), "1.0", "  ", "withdraw.reason"),
        ((), "1.0", "a\nb", "withdraw.reason"),
    ],
)
def test_what_cannot_be_withdrawn(house, put, filenames, version: str, reason: str, code: str) -> None:
    put(house, WHEEL, b"one")
    with pytest.raises(FarmError) as refused:
        take_out(house, *filenames, version=version, reason=reason)
    assert refused.value.code == code
    assert live(house) == {("dev", WHEEL)}
