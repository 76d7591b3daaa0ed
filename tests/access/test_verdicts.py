from __future__ import annotations

import base64
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildfarm.access import rules, tokens, users, verdicts
from buildfarm.access.verdicts import Verdicts, credential_of
from buildfarm.db.engine import Database
from buildfarm.errors import ExternalFailure, Forbidden, Unauthenticated


def basic(name: str, secret: str) -> str:
    return "Basic " + base64.b64encode(f"{name}:{secret}".encode()).decode()


@dataclass
class Clock:
    """A clock that stands still."""

    at: float = 1000.0

    def __call__(self) -> float:
        return self.at


@dataclass
class Counted:
    """A database that counts its readers and can be away."""

    inner: Database
    reads: int = 0
    away: bool = False
    seen: list[str] = field(default_factory=list)

    def read(self):
        self.reads += 1
        if self.away:
            raise ExternalFailure("away", code="database.unreachable")
        return self.inner.read()


@dataclass
class Door:
    verdicts: Verdicts
    database: Counted
    clock: Clock
    token: str
    token_id: str


@pytest.fixture
def door(database: Database) -> Door:
    with database.begin() as session:
        token, value = tokens.create(session, "ci", ["read:dev"], actor="ada")
        users.add_user(session, "ada", "correct horse", is_admin=True, actor="test")
    counted, clock = Counted(database), Clock()
    return Door(Verdicts(counted, monotonic=clock), counted, clock, value, token.id)


def test_any_name_goes_with_a_token_and_bearer_too(door: Door) -> None:
    for header in (basic("__token__", door.token), basic("ada", door.token), f"Bearer {door.token}",
                   f"bearer {door.token}", basic("", door.token)):  # fmt: skip
        assert door.verdicts.principal(header).id == door.token_id


def test_people_come_with_their_password(door: Door) -> None:
    assert door.verdicts.principal(basic("ada", "correct horse")).scopes == {"admin"}
    assert door.verdicts.principal(None).is_anonymous
    assert door.verdicts.principal("").is_anonymous


@pytest.mark.parametrize(
    "header",
    [
        basic("ada", ""), basic("", ""), basic("ada", "wrong horse"), basic("eve", "correct horse"), "Basic",
        "Basic !!!", "Digest x", "Bearer", "Bearer  ", "Basic " + base64.b64encode(b"\xff:x").decode(),
        "Basic " + base64.b64encode(b"no colon").decode(), basic("__token__", "bft_short"), "\u0660",
    ],
)  # fmt: skip
def test_everything_else_is_refused(door: Door, header: str) -> None:
    with pytest.raises(Unauthenticated):
        door.verdicts.principal(header)


@given(st.text(max_size=100))
def test_no_header_crashes_the_reader(header: str) -> None:
    try:
        name, secret = credential_of(header)
    except Unauthenticated:
        return
    assert isinstance(name, str)
    assert isinstance(secret, str)


def test_a_known_credential_asks_the_database_once(door: Door) -> None:
    for _ in range(5):
        door.verdicts.principal(basic("x", door.token))
    assert door.database.reads == 1
    door.clock.at += verdicts.FRESH_S
    door.verdicts.principal(basic("x", door.token))
    assert door.database.reads == 2


def test_a_mistyped_token_never_reaches_the_database(door: Door) -> None:
    for secret in (door.token[:-1], door.token[:4] + door.token[4:].swapcase(), door.token + "x", "bft_"):
        with pytest.raises(Unauthenticated):
            door.verdicts.principal(basic("__token__", secret))
    assert door.database.reads == 0


def test_a_refused_credential_is_remembered_for_as_short_a_time(door: Door) -> None:
    wrong = basic("ada", "wrong horse")
    for _ in range(4):
        with pytest.raises(Unauthenticated):
            door.verdicts.principal(wrong)
    assert door.database.reads == 1
    door.clock.at += verdicts.FRESH_S
    with pytest.raises(Unauthenticated):
        door.verdicts.principal(wrong)
    assert door.database.reads == 2


def test_a_revoked_token_closes_within_seconds(door: Door) -> None:
    header = basic("x", door.token)
    door.verdicts.principal(header)
    with door.database.inner.begin() as session:
        tokens.revoke(session, door.token_id, actor="ada")
    door.clock.at += verdicts.FRESH_S
    with pytest.raises(Unauthenticated):
        door.verdicts.principal(header)
    door.database.away = True
    door.clock.at += verdicts.FRESH_S
    with pytest.raises(ExternalFailure):  # the outage must not bring the old allow back
        door.verdicts.principal(header)


def test_while_the_database_is_away_a_known_allow_goes_on_for_a_bounded_time(door: Door) -> None:
    header, stranger = basic("x", door.token), basic("ada", "correct horse")
    door.verdicts.principal(header)
    door.database.away = True
    door.clock.at += verdicts.STALE_S - 1
    assert door.verdicts.principal(header).id == door.token_id
    with pytest.raises(ExternalFailure):
        door.verdicts.principal(stranger)
    door.clock.at += 2
    with pytest.raises(ExternalFailure):
        door.verdicts.principal(header)


def test_guessing_does_not_push_out_what_is_known(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verdicts, "_REFUSED_ENTRIES", 3)
    door.verdicts.principal(basic("x", door.token))
    for number in range(20):
        with pytest.raises(Unauthenticated):
            door.verdicts.principal(f"Digest {number}")
    assert len(door.verdicts._refused) <= 3
    reads = door.database.reads
    door.verdicts.principal(basic("x", door.token))
    assert door.database.reads == reads


def test_the_memory_holds_no_credential(door: Door) -> None:
    header = basic("x", door.token)
    door.verdicts.principal(header)
    held = repr(vars(door.verdicts))
    assert header not in held
    assert door.token not in held
    assert tokens.digest_of(door.token) not in held
    other = Verdicts(door.database)
    other.principal(header)
    assert not set(other._known) & set(door.verdicts._known)  # keyed: each process has its own


def test_a_verdict_is_a_decision_on_one_thing(door: Door) -> None:
    header = basic("x", door.token)
    known, nobody = door.verdicts.principal(header), door.verdicts.principal(None)
    assert known.name == "ci"
    rules.require(known, "read", "dev")
    with pytest.raises(Forbidden):
        rules.require(known, "read", "stable")
    with pytest.raises(Unauthenticated):
        rules.require(nobody, "read", "dev")
    rules.require(nobody, "read", "dev", public=True)
