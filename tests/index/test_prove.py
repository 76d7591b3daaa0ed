"""The proof finds every kind of damage, and nothing on a farm that is well."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
from sqlalchemy import text

from buildfarm.index.prove import differences

WHEEL = "widget-1.0-py3-none-any.whl"


def found(house) -> list[tuple[str, str]]:
    made = house.farm
    return [
        (one.where, one.what) for one in differences(made.database, made.blobs, house.tree, made.settings)
    ]


def sql(statement: str) -> Callable[..., None]:
    def run(house) -> None:
        with house.database.engine.begin() as connection:
            connection.execute(text(statement))

    return run


def blob(house, data: bytes | None) -> None:
    path = house.tree.root / "dev/files/widget" / WHEEL
    target = path.resolve()
    target.unlink()
    if data is not None:
        target.write_bytes(data)


def rewrite(path: str) -> Callable[..., None]:
    def run(house) -> None:
        place = house.tree.root / path
        stat = place.stat()
        place.write_bytes(place.read_bytes()[:-1] + b"x")
        os.utime(place, (stat.st_mtime, stat.st_mtime))

    return run


def age(house, path: str) -> None:
    os.utime(house.tree.root / path, (5, 5))


DAMAGES: dict[str, tuple[str, Callable[..., None]]] = {
    "a row's text": ("journal", sql("UPDATE journal SET body = replace(body, 'widget', 'gadget')")),
    "a row's leaf": ("journal", sql("UPDATE journal SET leaf = x'00' WHERE serial = 2")),
    "a lost row": ("journal", sql("DELETE FROM journal WHERE serial = 2")),
    "a lost last row": (
        "journal",
        sql("DELETE FROM journal WHERE serial > 5"),
    ),
    "a stored node": ("journal", sql("UPDATE journal_node SET hash = x'00' WHERE level = 2")),
    "an entry of tomorrow": ("database", sql("UPDATE channel_entry SET since = 999")),
    "a withdrawn file": ("database", sql("UPDATE file SET withdrawn_at = uploaded_at")),
    "a lost blob": ("blobs", lambda house: blob(house, None)),
    "other bytes": ("blobs", lambda house: blob(house, b"0ne")),
    "a yank behind the journal": ("pages", sql("UPDATE file SET yanked = 'x'")),
    "a page's bytes": ("pages", rewrite("dev/simple/widget.html.gz")),
    "a page's time": (
        "pages",
        lambda house: os.utime(house.tree.root / "dev/simple/widget.json.zst", (5, 5)),
    ),
    "a document's bytes": ("pages", rewrite("dev/pypi/widget/1.0/json.gz")),
    "a lost page": ("pages", lambda house: house.tree.drop("dev/simple/widget.json.gz")),
    "a lost link": ("pages", lambda house: house.tree.drop(f"dev/files/widget/{WHEEL}.metadata")),
    "a strange link": ("pages", lambda house: house.tree.link("dev/files/widget/x.whl", house.tree.root)),
    "a strange project": ("pages", lambda house: house.tree.put("dev/simple/evil.json.gz", b"", 1)),
    "a lost list": ("pages", lambda house: house.tree.drop("dev/simple/.root.json.gz")),
    "a tree that is behind": ("pages", lambda house: house.tree.set_serial(2)),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_every_damage_is_found(house, put, damage: str) -> None:
    put(house, WHEEL, b"one", metadata=b"Name: widget")
    put(house, "widget-2.0.tar.gz", b"two", provenance=b"{}")
    assert found(house) == []
    where, harm = DAMAGES[damage]
    harm(house)
    assert where in {place for place, _what in found(house)}


def test_a_farm_that_is_well_on_each_database(each_house, put) -> None:
    put(each_house, WHEEL, b"one", metadata=b"Name: widget")
    assert found(each_house) == []
