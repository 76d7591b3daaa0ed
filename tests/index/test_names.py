"""Whose a name is: local names, reserved namespaces (PEP 752), project status (PEP 792)."""

from __future__ import annotations

import json
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from buildfarm.access import tokens
from buildfarm.access.rules import Principal
from buildfarm.errors import Conflict, FarmError, Forbidden, InvalidInput, NotFound
from buildfarm.index import names, namespaces, status
from buildfarm.index.model import Namespace
from buildfarm.index.spelling import version_key
from buildfarm.journal.model import JournalRow
from buildfarm.sources.model import Source
from buildfarm.wheels.names import skeleton

STRANGER = Principal("tok_1", "ci", frozenset({"upload:*"}), frozenset({"token:tok_1"}))
ADMIN = Principal("tok_2", "root", frozenset({"admin"}), frozenset({"token:tok_2"}))


def reserve(house, prefix: str, *owners: str) -> None:
    with house.database.begin() as session:
        namespaces.add(session, prefix, owners, actor="ada")


def local(house, name: str) -> None:
    with house.database.begin() as session:
        names.add_local(session, name, name, actor="ada")


def may_publish(house, principal: Principal, name: str) -> bool:
    with house.database.read() as session:
        return names.demand_publishable(session, principal, name)


def journal(house, kind: str) -> list[dict]:
    with house.database.read() as session:
        rows = session.scalars(select(JournalRow).where(JournalRow.kind == kind).order_by(JournalRow.serial))
        return [json.loads(row.body) for row in rows]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("acme", True),
        ("acme-widget", True),
        ("acme-widget-extra", True),
        ("acmewidget", False),
        ("acm", False),
        ("my-acme", False),
        ("elsewhere", True),
        ("elsewhere-x", False),
    ],
)
def test_ours_is_what_is_local_or_reserved(each_house, name: str, *, expected: bool) -> None:
    local(each_house, "elsewhere")
    reserve(each_house, "Acme")
    with each_house.database.read() as session:
        assert names.is_ours(session, name) is expected


def test_a_reserved_name_is_its_owners_to_publish(house) -> None:
    house.source("acme-ci", projects=())
    reserve(house, "acme", "source:acme-ci")
    with pytest.raises(Conflict) as refused:
        may_publish(house, STRANGER, "acme-widget")
    assert (refused.value.code, refused.value.status) == ("namespace.reserved", 409)
    with pytest.raises(Conflict):
        may_publish(house, STRANGER, "acme")
    assert may_publish(house, ADMIN, "acme-widget")
    assert not may_publish(house, STRANGER, "acmewidget")
    (row,) = journal(house, "namespace.add")
    assert (row["prefix"], row["owners"], row["actor"]) == ("acme", ["source:acme-ci"], "ada")


def test_an_owner_by_token_publishes(house) -> None:
    with house.database.begin() as session:
        token, _ = tokens.create(session, "ci", ["upload:dev"], actor="ada")
    reserve(house, "acme", f"token:{token.id}")
    owner = Principal(token.id, "ci", frozenset({"upload:dev"}), frozenset({f"token:{token.id}"}))
    assert may_publish(house, owner, "acme-widget")


def test_a_project_older_than_the_reservation_stays_as_it_was(house) -> None:
    local(house, "acme-old")
    reserve(house, "acme")
    local(house, "acme-new")
    assert may_publish(house, STRANGER, "acme-old")
    with pytest.raises(Conflict):
        may_publish(house, STRANGER, "acme-new")


@pytest.mark.parametrize(
    ("held", "wanted", "overlaps"),
    [
        ("foo-bar", "foo", True),
        ("foo", "foo-bar", True),
        ("foo", "foo-bar-baz", True),
        ("foo", "foobar", False),
        ("foo-bar", "foo-baz", False),
        ("foobar", "foo", False),
    ],
)
def test_grants_of_two_owners_do_not_overlap(house, held: str, wanted: str, *, overlaps: bool) -> None:
    house.source("one", projects=())
    reserve(house, held)
    if overlaps:
        with pytest.raises(Conflict) as refused:
            reserve(house, wanted, "source:one")
        assert refused.value.code == "namespace.overlap"
        reserve(house, wanted)  # the same owners hold both: that is no overlap of ownership
    else:
        reserve(house, wanted, "source:one")


@pytest.mark.parametrize(
    ("prefix", "owner", "code"),
    [
        ("acme!", None, "project.name"),
        ("a-b-c-d-e-f", None, "namespace.depth"),
        ("acme", "source:nobody", "namespace.owner"),
        ("acme", "user:nobody", "namespace.owner"),
        ("acme", "nobody", "namespace.owner"),
        ("ACME_old", None, "namespace.exists"),
    ],
)
def test_what_cannot_be_reserved(house, prefix: str, owner: str | None, code: str) -> None:
    reserve(house, "acme-old")
    with pytest.raises((InvalidInput, Conflict)) as refused:
        reserve(house, prefix, *([owner] if owner else []))
    assert refused.value.code == code


def test_a_namespace_given_up_is_free(house) -> None:
    reserve(house, "acme")
    with house.database.begin() as session:
        namespaces.remove(session, "ACME", actor="ada")
    with house.database.read() as session:
        assert session.scalars(select(Namespace)).all() == []
        assert not names.is_ours(session, "acme-widget")
    with pytest.raises(NotFound), house.database.begin() as session:
        namespaces.remove(session, "acme", actor="ada")
    assert len(journal(house, "namespace.remove")) == 1


@pytest.mark.parametrize("marker", ["archived", "quarantined"])
def test_a_closed_project_takes_nothing_from_anybody(house, marker: str) -> None:
    local(house, "widget")
    with house.database.begin() as session:
        status.set_status(session, "Widget", marker, reason="See gadget.", actor="ada")
    for principal in (STRANGER, ADMIN):
        with pytest.raises(Forbidden) as refused:
            may_publish(house, principal, "widget")
        assert refused.value.code == "project.closed"
        assert "See gadget." in refused.value.message
    with house.database.begin() as session:
        status.set_status(session, "widget", "deprecated", reason="", actor="ada")
    assert may_publish(house, STRANGER, "widget")
    assert [row["status"] for row in journal(house, "project.status")] == [marker, "deprecated"]


@pytest.mark.parametrize(
    ("name", "marker", "reason"),
    [("none", "active", ""), ("widget", "closed", ""), ("widget", "archived", "a\nb")],
)
def test_a_status_that_is_none(house, name: str, marker: str, reason: str) -> None:
    local(house, "widget")
    with pytest.raises(FarmError), house.database.begin() as session:
        status.set_status(session, name, marker, reason=reason, actor="ada")


@pytest.mark.parametrize(
    ("one", "other"),
    [("requests", "reque-sts"), ("pillow", "pi1l0w"), ("urllib3", "ur1lib3"), ("six", "slx"), ("a.b", "a_b")],
)
def test_names_that_look_alike_have_one_skeleton(one: str, other: str) -> None:
    assert skeleton(one) == skeleton(other)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=4), st.integers(0, 3))
def test_zeros_at_the_end_of_a_version_make_no_other_release(numbers: list[int], zeros: int) -> None:
    text = ".".join(map(str, numbers))
    assert version_key(text) == version_key(text + ".0" * zeros)
    assert version_key(f"v{text}rc1") == version_key(f"{text}.RC.1")
    assert version_key(f"{text}+local") != version_key(text)


@pytest.mark.parametrize("is_other", [True, False], ids=["to two sources", "to one source"])
def test_two_grants_at_once_see_each_other(each_house, is_other: bool) -> None:
    first = each_house.source("widget", projects=())
    second = each_house.source("gadget", projects=()) if is_other else first
    for name in ("acme-rim", "acme-hub"):
        local(each_house, name)
    done, met = threading.Event(), []

    def grant() -> None:
        try:
            with each_house.database.begin() as session:
                wanted = "acme-rim" if is_other else "acme-hub"
                names.make_local(session, [wanted], session.get_one(Source, second), actor="bob")
        except FarmError as err:
            met.append(err.code)
        done.set()

    with each_house.database.begin() as session:
        names.make_local(session, ["acme-rim"], session.get_one(Source, first), actor="ada")
        session.flush()
        other = threading.Thread(target=grant)
        other.start()
        assert not done.wait(0.5), "it waits for this one's end"
    other.join(timeout=30)
    with each_house.database.read() as session:
        granted = [source.projects for source in session.scalars(select(Source).order_by(Source.id))]
    if is_other:
        assert (met, granted) == (["project.granted"], [["acme-rim"], []])
    else:
        assert (met, granted) == ([], [["acme-hub", "acme-rim"]])
