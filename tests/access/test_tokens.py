from __future__ import annotations

import json
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from buildfarm import clock, log
from buildfarm.access import tokens
from buildfarm.access.model import Token
from buildfarm.access.rules import Principal, may, parse_scopes, require
from buildfarm.db.engine import Database
from buildfarm.errors import Forbidden, InvalidInput, NotFound, Unauthenticated
from buildfarm.journal.model import JournalRow

#: Fixed, because it stands in the names of tests.
VALUE = "bft_0123456789abcdefghijABCDEFGHIJ011AHsQU"


def test_a_token_is_its_own_proof_of_spelling() -> None:
    values = {tokens.new_token() for _ in range(200)}
    assert len(values) == 200
    assert all(tokens.is_token(value) for value in values)
    assert all(value[4:].isalnum() and len(value) == 42 for value in values)


@given(place=st.integers(0, len(VALUE) - 1), other=st.characters(codec="utf-8"))
def test_a_changed_character_is_refused_before_any_look_up(place: int, other: str) -> None:
    changed = VALUE[:place] + other + VALUE[place + 1 :]
    assert tokens.is_token(changed) == (changed == VALUE)


@given(st.integers(0, len(VALUE)), st.integers(0, len(VALUE)))
def test_a_part_of_a_token_is_none(start: int, end: int) -> None:
    assert tokens.is_token(VALUE[start:end]) == (VALUE[start:end] == VALUE)


@given(st.text(max_size=60))
def test_no_other_text_is_a_token(text: str) -> None:
    assert not tokens.is_token(text)
    assert not tokens.is_token(VALUE + text) or text == ""


def test_the_value_is_nowhere_but_with_its_owner(database: Database) -> None:
    with database.begin() as session:
        token, value = tokens.create(session, "ci", ["read:dev", "upload:dev"], actor="ada")
    with database.read() as session:
        row = session.get_one(Token, token.id)
        everything = json.dumps([row.name, row.digest, row.scopes])
        everything += "".join(session.scalars(select(JournalRow.body)))
        assert value not in everything
        assert row.expires_at is not None
        assert timedelta(days=89) < row.expires_at - row.created_at <= timedelta(days=90)
    assert value not in log.mask(f"somebody sent {value} here")


def test_a_token_opens_until_it_ends(database: Database) -> None:
    with database.begin() as session:
        token, value = tokens.create(session, "ci", ["view"], actor="ada", days=1)
        _, eternal = tokens.create(session, "old", ["view"], actor="ada", days=None)
    now = clock.now()
    with database.read() as session:
        subjects = frozenset({f"token:{token.id}"})
        known = Principal(token.id, "ci", frozenset({"view"}), subjects)
        assert tokens.principal_of(session, value, now) == known
        assert tokens.principal_of(session, value, now + timedelta(days=1, seconds=1)) is None
        assert tokens.principal_of(session, eternal, now + timedelta(days=9999)) is not None
        assert tokens.principal_of(session, tokens.new_token(), now) is None
        assert tokens.principal_of(session, value.upper(), now) is None
    with database.begin() as session:
        tokens.revoke(session, token.id, actor="ada")
    with database.read() as session:
        assert tokens.principal_of(session, value, now) is None
    with pytest.raises(NotFound), database.begin() as session:
        tokens.revoke(session, token.id, actor="ada")


@pytest.mark.parametrize(
    "scope", ["", "read", "read:", "admin:dev", "fly", "READ:dev", "build:x", ":", "*", "view:*", "read dev"]
)
def test_what_is_no_scope_is_refused(scope: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_scopes(["view", scope])
    assert caught.value.code == "access.scope"


@pytest.mark.parametrize(
    ("scopes", "verb", "target", "allowed"),
    [
        ({"read:dev"}, "read", "dev", True),
        ({"read:dev"}, "read", "stable", False),
        ({"read:*"}, "read", "stable", True),
        ({"read:dev"}, "upload", "dev", False),
        ({"upload:dev"}, "read", "dev", False),
        ({"admin"}, "upload", "dev", True),
        ({"view"}, "view", "", True),
        ({"build"}, "view", "", True),
        ({"view"}, "build", "", False),
        ({"read:dev"}, "view", "", False),
        ({"promote:staging"}, "promote", "stable", False),
        ({"read:de"}, "read", "dev", False),
        (set(), "read", "dev", False),
    ],
)
def test_who_may_do_what(scopes: set[str], verb: str, target: str, *, allowed: bool) -> None:
    principal = Principal("tok_1", "ci", frozenset(scopes))
    assert may(principal, verb, target) == allowed
    if not allowed:
        with pytest.raises(Forbidden) as caught:
            require(principal, verb, target)
        assert verb in caught.value.hint


def test_a_public_channel_is_open_for_reading_alone() -> None:
    assert may(Principal(), "read", "dev", public=True)
    assert not may(Principal(), "upload", "dev", public=True)
    with pytest.raises(Unauthenticated):
        require(Principal(), "read", "dev")


@settings(max_examples=100)
@given(st.text(max_size=80))
def test_masking_never_changes_the_lines_of_a_text(text: str) -> None:
    assert log.mask(text).count("\n") == text.count("\n")


@pytest.mark.parametrize(
    "text",
    [
        f"token {VALUE}!",
        "https://ada:s3cret-s3cret@index.example/simple", "Authorization: Basic czNjcmV0czNjcmV0",
        "authorization: bearer s3cret-s3cret", f"{VALUE}\n{VALUE}",
    ],
)  # fmt: skip
def test_credentials_are_masked(text: str) -> None:
    masked = log.mask(text)
    assert "[masked]" in masked
    assert VALUE not in masked
    assert "s3cret" not in masked
    assert "czNjcmV0" not in masked


def test_credentials_in_nested_values_of_a_record_are_masked(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("test")
    log.get("test").warning("sent", headers={"Authorization": f"Bearer {VALUE}"}, urls=[f"x {VALUE}"])
    assert VALUE not in capsys.readouterr().err
