from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import select

from buildfarm.errors import Conflict, FarmError, InvalidInput, NotFound
from buildfarm.index import names, promote
from buildfarm.index.model import ChannelEntry, File, Project, Promotion
from buildfarm.journal.model import JournalRow
from buildfarm.sources.model import Source

WHEEL = "widget-1.0-py3-none-any.whl"


def climb(house, lower: str = "dev", upper: str = "staging", version: str = "1.0") -> str:
    with house.database.begin() as session:
        return promote.promote(
            session, project="widget", version=version, from_channel=lower, to_channel=upper, actor="ada"
        ).id


def undo(house, promotion: str) -> str:
    with house.database.begin() as session:
        return promote.undo(session, promotion, actor="ada").id


def live(house, channel: str) -> list[str]:
    with house.database.read() as session:
        entries = select(ChannelEntry.filename).where(
            ChannelEntry.channel == channel, ChannelEntry.until.is_(None)
        )
        return sorted(session.scalars(entries))


def journal(house) -> list[tuple[str, dict]]:
    with house.database.read() as session:
        rows = session.scalars(select(JournalRow).order_by(JournalRow.serial)).all()
    return [(row.kind, json.loads(row.body)) for row in rows if row.project == "widget"]


def test_a_promotion_adds_the_same_bytes_and_says_who(each_house, put) -> None:
    sha256 = put(each_house, WHEEL, b"one")
    promotion = climb(each_house)
    assert live(each_house, "staging") == live(each_house, "dev") == [WHEEL]
    kind, body = journal(each_house)[-1]
    assert (kind, body["actor"], body["from_channel"], body["to_channel"]) == (
        "promote",
        "ada",
        "dev",
        "staging",
    )
    assert body["files"] == [{"filename": WHEEL, "sha256": sha256}]
    with each_house.database.read() as session:
        assert session.get_one(Promotion, promotion).serial == body["serial"]


def test_a_later_file_of_the_release_climbs_by_itself(each_house, put) -> None:
    put(each_house, WHEEL, b"one")
    climb(each_house)
    put(each_house, "widget-1.0.tar.gz", b"two")
    second = climb(each_house)
    assert len(live(each_house, "staging")) == 2
    undo(each_house, second)
    assert live(each_house, "staging") == [WHEEL]


def test_entries_are_temporal_and_undo_is_a_new_one(each_house, put) -> None:
    put(each_house, WHEEL, b"one")
    first = climb(each_house)
    undo(each_house, first)
    climb(each_house)
    with each_house.database.read() as session:
        entries = session.scalars(
            select(ChannelEntry).where(ChannelEntry.channel == "staging").order_by(ChannelEntry.since)
        ).all()
    assert [entry.until is None for entry in entries] == [False, True]
    assert entries[0].since < entries[0].until < entries[1].since
    assert [kind for kind, _ in journal(each_house)][-3:] == ["promote", "promote.undo", "promote"]


@pytest.mark.parametrize(
    ("lower", "upper", "version", "error", "code"),
    [
        ("staging", "dev", "1.0", InvalidInput, "promotion.downward"),
        ("dev", "dev", "1.0", InvalidInput, "promotion.downward"),
        ("dev", "none", "1.0", NotFound, "channel.unknown"),
        ("none", "dev", "1.0", NotFound, "channel.unknown"),
        ("dev", "staging", "2.0", NotFound, "release.unknown"),
        ("staging", "stable", "1.0", NotFound, "release.unknown"),
        ("dev", "staging", "one", InvalidInput, "version.invalid"),
    ],
)
def test_what_cannot_be_promoted(
    house, put, lower: str, upper: str, version: str, error: type[FarmError], code: str
) -> None:
    put(house, WHEEL, b"one")
    with pytest.raises(error) as caught:
        climb(house, lower, upper, version)
    assert caught.value.code == code
    assert live(house, "staging") == []


def test_twice_is_nothing_new_and_yanked_stays_below(each_house, put) -> None:
    put(each_house, WHEEL, b"one")
    climb(each_house, version="v1.0")  # another spelling of the version
    with pytest.raises(Conflict) as caught:
        climb(each_house)
    assert caught.value.code == "promotion.nothing_new"
    with each_house.database.begin() as session:
        promote.yank(session, project="widget", version="1.0", reason="", actor="ada")
    with pytest.raises(Conflict) as caught:
        climb(each_house, "staging", "stable")
    assert caught.value.code == "promotion.yanked"


def test_a_dev_build_stays_below_and_says_how_a_release_is_made(each_house, put) -> None:
    source = each_house.source()
    for ref, version in (("refs/heads/main", "1.0+g0123"), ("refs/tags/v1", "1.0+corp1")):
        build_id, _ = each_house.build(source, ref=ref)
        filename = f"widget-{version}-py3-none-any.whl"
        put(each_house, filename, version.encode())
        with each_house.database.begin() as session:
            session.get_one(File, filename).build_id = build_id
    with pytest.raises(Conflict) as caught:
        climb(each_house, version="1.0+g0123")
    assert (caught.value.code, caught.value.message) == (
        "promotion.dev_build", "widget 1.0+g0123 is a dev build of refs/heads/main.",
    )  # fmt: skip
    climb(each_house, version="1.0+corp1")
    admin = each_house.client(each_house.token("admin"))
    shown = [admin.get(f"/api/v1/releases/widget/{one}").json for one in ("1.0+g0123", "1.0+corp1")]
    assert [one["following"] and one["following"]["to_channel"] for one in shown] == [None, "stable"]
    html = {"Accept": "text/html"}
    pages = [admin.get(f"/projects/widget/{one}", headers=html).text for one in ("1.0+g0123", "1.0+corp1")]
    assert ["A dev build." in one for one in pages] == [True, False]


def test_an_undone_promotion_is_not_undone_again(each_house, put) -> None:
    put(each_house, WHEEL, b"one")
    promotion = climb(each_house)
    revert = undo(each_house, promotion)
    for again in (promotion, revert):
        with pytest.raises(Conflict):
            undo(each_house, again)
    with pytest.raises(NotFound):
        undo(each_house, "prm_none")


def test_at_once_one_promotes_and_one_undoes(each_house, put) -> None:
    put(each_house, WHEEL, b"one")

    def attempt(call, *args: str) -> object:
        try:
            return call(each_house, *args)
        except Conflict as err:
            return err.code

    with ThreadPoolExecutor(4) as pool:
        results = [job.result() for job in [pool.submit(attempt, climb) for _ in range(4)]]
        assert results.count("promotion.nothing_new") == 3
        (promotion,) = [one for one in results if one != "promotion.nothing_new"]
        assert live(each_house, "staging") == [WHEEL]
        results = [job.result() for job in [pool.submit(attempt, undo, promotion) for _ in range(4)]]
    assert results.count("promotion.undone") == 3
    assert live(each_house, "staging") == []


@pytest.mark.parametrize("reason", ["two\nlines", "x" * 501, "\x1b[31m", "a\u202eb"])
def test_a_reason_is_one_line(house, put, reason: str) -> None:
    put(house, WHEEL, b"one")
    with pytest.raises(InvalidInput), house.database.begin() as session:
        promote.yank(session, project="widget", version="1.0", reason=reason, actor="ada")


def test_yanking_marks_all_files_and_unyanking_clears_them(each_house, put) -> None:
    put(each_house, WHEEL, b"one")
    put(each_house, "widget-1.0.tar.gz", b"two")
    with each_house.database.begin() as session:
        assert len(promote.yank(session, project="WIDGET", version="v1.0", reason="bad", actor="ada")) == 2
    with each_house.database.begin() as session:
        assert set(session.scalars(select(File.yanked))) == {"bad"}
        promote.unyank(session, project="widget", version="1.0", actor="ada")
    with each_house.database.read() as session:
        assert set(session.scalars(select(File.yanked))) == {None}
    assert [(kind, body["reason"]) for kind, body in journal(each_house)[-2:]] == [
        ("yank", "bad"),
        ("unyank", None),
    ]
    with pytest.raises(NotFound), each_house.database.begin() as session:
        promote.yank(session, project="gadget", version="1.0", reason="", actor="ada")


# Names ----------------------------------------------------------------------------------------------


def test_a_name_is_local_from_its_serial_on_and_belongs_to_one_source(each_house) -> None:
    first, second = each_house.source("one", projects=("My.Widget",)), each_house.source("two", projects=())
    with each_house.database.begin() as session:
        project = session.get_one(Project, "my-widget")
        assert (project.display_name, project.local_since > 0) == ("My.Widget", True)
        assert session.get_one(Source, first).projects == ["my-widget"]
        with pytest.raises(Conflict) as caught:
            names.make_local(session, ["my_widget"], session.get_one(Source, second), actor="ada")
        assert caught.value.code == "project.granted"


@pytest.mark.parametrize("name", ["", "..", "a/b", "../../etc", "-x", "x-", "a b", "ä", "a\0", "a\n"])
def test_what_is_no_name_cannot_be_granted(house, name: str) -> None:
    source = house.source("one", projects=())
    with pytest.raises(InvalidInput) as caught, house.database.begin() as session:
        names.make_local(session, [name], session.get_one(Source, source), actor="ada")
    assert caught.value.code == "project.name"
