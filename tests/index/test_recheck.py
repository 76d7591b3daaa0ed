"""Stored files are looked at again when the rules have changed, and nothing of ours goes by itself."""

from __future__ import annotations

import hashlib
import json
from datetime import timedelta
from itertools import islice

import pytest
from sqlalchemy import select

from buildfarm import clock
from buildfarm.errors import Forbidden
from buildfarm.index import recheck
from buildfarm.index.model import File
from buildfarm.journal.model import JournalRow
from buildfarm.mirror.model import UpstreamFile
from buildfarm.wheels.rules import RULES_VERSION
from tests.conftest import wheel
from tests.index.conftest import put_one

NAME, GOOD = wheel()
BAD = GOOD + b"tail"


def put(house, filename: str = NAME, data: bytes = GOOD, **more: object) -> None:
    """A file of ours as older rules let it in."""
    put_one(house, filename, data)
    with house.database.begin() as session:
        for name, value in more.items():
            setattr(session.get_one(File, filename), name, value)


def file(house, filename: str = NAME, table: type = File):
    with house.database.read() as session:
        return session.get_one(table, filename)


def rows(house, kind: str) -> list[dict]:
    with house.database.read() as session:
        found = session.scalars(select(JournalRow.body).where(JournalRow.kind == kind))
        return [json.loads(body) for body in found]


def test_what_is_older_is_judged_again_and_only_once(house) -> None:
    put(house, findings=[{"rule": "M-03", "text": "gone", "entry": ""}])
    assert list(house.farm.recheck.walk()) == [NAME]
    assert (file(house).rules_version, file(house).findings, file(house).refused) == (RULES_VERSION, [], None)
    assert file(house).check.tools
    assert list(house.farm.recheck.walk()) == []


def test_a_walk_may_end_anywhere(house) -> None:
    names = [wheel("widget", f"1.{number}")[0] for number in range(3)]
    for number, name in enumerate(names):
        put(house, name, wheel("widget", f"1.{number}")[1])
    assert list(islice(house.farm.recheck.walk(), 2)) == names[:2]
    assert list(house.farm.recheck.walk()) == names[2:]


def test_a_file_of_ours_that_is_refused_now_stays_and_is_said_once(house, monkeypatch) -> None:
    put(house, data=BAD)
    list(house.farm.recheck.walk())
    assert file(house).refused.startswith("Z-01")
    assert (file(house).withdrawn_at, file(house).refused_by) == (None, "Z-01")
    monkeypatch.setattr(recheck, "RULES_VERSION", RULES_VERSION + 1)
    assert list(house.farm.recheck.walk()) == [NAME]
    (row,) = rows(house, "file.refuse")
    assert (row["project"], row["filename"], row["rule"]) == ("widget", NAME, "Z-01")
    house.follower.catch_up()
    client = house.client(house.token("admin", "read:dev"))
    assert client.get(f"/dev/files/widget/{NAME}").data == BAD
    (shown,) = client.get("/api/v1/releases/widget/1.0").json["files"]
    assert shown["refused"] == file(house).refused


def test_what_was_withdrawn_is_settled(house) -> None:
    put(house, data=BAD, withdrawn_at=clock.now())
    assert list(house.farm.recheck.walk()) == []
    assert file(house).refused is None


def test_missing_bytes_are_passed_over_and_come_up_again(house) -> None:
    put(house)
    house.farm.blobs.delete(hashlib.sha256(GOOD).hexdigest())
    for _ in range(2):
        assert list(house.farm.recheck.walk()) == [NAME]
        assert (file(house).rules_version, file(house).refused) == (0, None)


def test_a_check_that_could_not_be_made_is_no_verdict(house, monkeypatch) -> None:
    put(house)
    monkeypatch.setattr("buildfarm.wheels.validate.sandbox.ask", lambda *_: b"")
    list(house.farm.recheck.walk())
    assert (file(house).rules_version, file(house).refused) == (0, None)


def mirrored(house, data: bytes) -> None:
    sha256 = house.farm.blobs.put_bytes(data)
    now = clock.now()
    with house.database.begin() as session:
        session.add(
            UpstreamFile(
                filename=NAME, project="widget", sha256=sha256, size=len(data), url="https://up.example/x",
                seen_at=now, last_used_at=now - timedelta(days=1), stored_at=now,
            )
        )  # fmt: skip


def test_a_mirrored_file_that_is_refused_now_is_put_aside(house, monkeypatch) -> None:
    mirrored(house, BAD)
    assert list(house.farm.recheck.walk()) == [NAME]
    with pytest.raises(Forbidden, match="Z-01"):
        house.farm.upstream.files.held(NAME)
    assert [row["rule"] for row in rows(house, "mirror.refuse")] == ["Z-01"]
    assert list(house.farm.recheck.walk()) == []
    moment = clock.now() + timedelta(minutes=11)
    monkeypatch.setattr(clock, "now", lambda: moment)
    house.farm.mirrored.make_room()
    assert not house.farm.blobs.has(hashlib.sha256(BAD).hexdigest())


def test_a_mirrored_file_that_is_good_is_passed_on(house) -> None:
    mirrored(house, GOOD)
    list(house.farm.recheck.walk())
    assert house.farm.upstream.files.held(NAME).rules_version == RULES_VERSION
