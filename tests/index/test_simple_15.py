"""Simple API 1.5 (PEP 752, the checklist's line 37): what pages tell of namespaces, and when that moves."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sqlalchemy import func, select

from buildfarm.index import namespaces, prove
from buildfarm.index.follow import PageFollower
from buildfarm.index.model import Channel
from buildfarm.journal.model import JournalRow
from buildfarm.scm import connect
from buildfarm.sources.model import Source
from tests.conftest import House

JSON = "application/vnd.pypi.simple.v1+json"
CORE, PART, OTHER = "/dev/simple/acme-core/", "/dev/simple/acme-part/", "/dev/simple/acmeish/"


@pytest.fixture
def told(open_house, put) -> House:
    """A farm that tells namespaces, with three projects; `acme-core` is a source's."""
    house: House = open_house(index={"namespaces": True})
    house.source("acme-ci", projects=("acme-core",))
    for name in ("acme_core", "acme_part", "acmeish"):
        put(house, f"{name}-1.0.tar.gz", name.encode())
    return house


def reserve(house: House, prefix: str, *owners: str) -> None:
    with house.database.begin() as session:
        namespaces.add(session, prefix, owners, actor="ada")
    house.follower.catch_up()


def give_up(house: House, prefix: str) -> None:
    with house.database.begin() as session:
        namespaces.remove(session, prefix, actor="ada")
    house.follower.catch_up()


def ask(house: House, path: str, **headers: str) -> Any:
    return house.client(house.token("read:*")).get(path, headers={"Accept": JSON, **headers})


def page(house: House, path: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(ask(house, path).data)
    return found


def last_change(house: House) -> int:
    """The serial of the last row about a namespace."""
    with house.database.read() as session:
        about = JournalRow.kind.startswith("namespace.")
        return session.scalar(select(func.max(JournalRow.serial)).where(about)) or 0


def test_line_37_pages_tell_the_namespaces_of_a_project(told, put) -> None:
    assert page(told, CORE)["namespaces"] is None
    assert (
        page(told, CORE)["meta"]["api-version"] == page(told, "/dev/simple/")["meta"]["api-version"] == "1.5"
    )
    reserve(told, "acme", "source:acme-ci")
    reserve(told, "acme-core", "source:acme-ci")
    both = [{"name": "acme", "owned": True}, {"name": "acme-core", "owned": True}]
    assert page(told, CORE)["namespaces"] == both
    # It is older than the grant, and nobody knows whose it is.
    assert page(told, PART)["namespaces"] == [{"name": "acme", "owned": False}]
    assert page(told, OTHER)["namespaces"] is None
    put(told, "acme_new-1.0.tar.gz", b"new")
    assert page(told, "/dev/simple/acme-new/")["namespaces"] == [{"name": "acme", "owned": True}]
    html = ask(told, CORE, Accept="text/html").text
    assert 'name="pypi:repository-version" content="1.4"' in html
    assert "namespace" not in html


def test_line_37_documents_tell_the_namespaces_themselves(told) -> None:
    assert ask(told, "/dev/namespaces").json == []
    for prefix in ("acme", "acme-core", "acme-core-x", "other"):
        reserve(told, prefix)
    answer = ask(told, "/dev/namespaces")
    assert [one["name"] for one in answer.json] == ["acme", "acme-core", "acme-core-x", "other"]
    assert answer.content_type == "application/json"
    for name, parent, children in (
        ("acme", None, ["acme-core"]), ("acme-core", "acme", ["acme-core-x"]), ("other", None, []),
    ):  # fmt: skip
        answer = ask(told, f"/dev/namespace/{name}")
        assert answer.json == {"name": name, "parent": parent, "children": children}
        assert int(answer.headers["X-PyPI-Last-Serial"]) == last_change(told)
        known = ask(told, f"/dev/namespace/{name}", **{"If-None-Match": answer.headers["ETag"]})
        assert known.status_code == 304
    give_up(told, "other")
    assert ask(told, "/dev/namespace/other").status_code == 404
    assert told.client().get("/dev/namespaces").status_code == 401


def test_a_page_moves_when_a_grant_that_covers_its_project_comes_or_goes(told, put) -> None:
    def mark(path: str) -> tuple[str, int]:
        answer = ask(told, path)
        return answer.headers["ETag"], int(answer.headers["X-PyPI-Last-Serial"])

    before, untouched = mark(CORE), mark(OTHER)
    for change in (reserve, give_up):
        change(told, "acme")
        etag, serial = mark(CORE)
        assert serial == page(told, CORE)["meta"]["_last-serial"] == last_change(told)
        assert etag != before[0]
        before = etag, serial
    assert page(told, CORE)["namespaces"] is None
    # What a change of one release renders knows of it too; a first rendering comes to the same.
    reserve(told, "acme")
    put(told, "acme_core-1.1.tar.gz", b"newer")
    assert page(told, CORE)["namespaces"] == [{"name": "acme", "owned": False}]
    give_up(told, "acme")
    kept = mark(CORE)
    told.tree.set_serial(-1)
    told.follower.catch_up()
    assert (mark(CORE), mark(OTHER)) == (kept, untouched)
    told.follower.catch_up()  # tokens are in the journal
    assert not list(prove.differences(told.database, told.farm.blobs, told.tree, told.farm.settings))


def test_a_source_that_ends_owns_no_more(told) -> None:
    reserve(told, "acme", "source:acme-ci")
    with told.database.begin() as session:
        connect.remove_source(session, session.query(Source).one(), actor="ada")
    told.follower.catch_up()
    assert page(told, CORE)["namespaces"] == [{"name": "acme", "owned": False}]


def test_every_channel_has_the_documents_also_one_that_comes_later(told) -> None:
    reserve(told, "acme")
    with told.database.begin() as session:
        session.add(Channel(name="upstream", rank=9, public=False, kind="mirror"))
        namespaces.add(session, "other", [], actor="ada")
    told.follower.catch_up()
    assert [one["name"] for one in ask(told, "/upstream/namespaces").json] == ["acme", "other"]


def test_the_switch_renders_anew_and_is_off_at_first(told) -> None:
    reserve(told, "acme")
    root = ask(told, "/dev/simple/").headers["ETag"]
    settings = told.farm.settings
    off = settings.model_copy(update={"index": settings.index.model_copy(update={"namespaces": False})})
    PageFollower(told.database, told.farm.blobs, told.tree, off).catch_up()
    assert (
        page(told, CORE)["meta"]["api-version"] == page(told, "/dev/simple/")["meta"]["api-version"] == "1.4"
    )
    assert "namespaces" not in page(told, CORE)
    assert ask(told, "/dev/simple/").headers["ETag"] != root
    for path in ("/dev/namespaces", "/dev/namespace/acme"):
        assert ask(told, path).status_code == 404
    assert not type(settings)().index.namespaces
