from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import select

from buildfarm import clock
from buildfarm.access import tokens, users
from buildfarm.access.model import User, WebSession
from buildfarm.db.engine import Database
from buildfarm.errors import Conflict, InvalidInput, Unauthenticated
from buildfarm.journal.model import JournalRow


@pytest.fixture
def ada(database: Database) -> str:
    with database.begin() as session:
        return users.add_user(session, "ada", "correct horse", is_admin=False, actor="test").id


def test_a_password_is_stored_as_argon2id_and_journalled_never(database: Database) -> None:
    with database.begin() as session:
        lou = users.add_user(session, "lou", "correct horse", is_admin=False, actor="test").id
    with database.read() as session:
        user = session.get_one(User, lou)
        assert user.password_hash.startswith("$argon2id$")
        assert "correct horse" not in "".join(session.scalars(select(JournalRow.body)))
        assert "lou" not in "".join(session.scalars(select(JournalRow.body)))  # letters that no id has


def test_people_look_and_install_and_administrators_do_everything(database: Database, ada: str) -> None:
    with database.begin() as session:
        users.add_user(session, "root", "correct horse", is_admin=True, actor="test")
    with database.read() as session:
        assert users.check_password(session, "ada", "correct horse").scopes == {"view", "read:*"}
        assert users.check_password(session, "root", "correct horse").scopes == {"admin"}


def test_unknown_disabled_and_wrong_sound_the_same(database: Database, ada: str) -> None:
    with database.begin() as session:
        gone = users.add_user(session, "gone", "correct horse", is_admin=True, actor="test")
        gone.disabled_at = clock.now()
    answers = set()
    with database.read() as session:
        for name, password in (
            ("ada", "wrong"),
            ("eve", "correct horse"),
            ("gone", "correct horse"),
            ("ada", ""),
        ):
            with pytest.raises(Unauthenticated) as caught:
                users.check_password(session, name, password)
            answers.add((str(caught.value), caught.value.code))
    assert len(answers) == 1


def test_short_passwords_and_taken_names_are_refused(database: Database, ada: str) -> None:
    with database.begin() as session, pytest.raises(InvalidInput):
        users.add_user(session, "bob", "123456789", is_admin=False, actor="test")
    with database.begin() as session, pytest.raises(Conflict):
        users.add_user(session, "ada", "another horse", is_admin=True, actor="test")


def test_a_session_lasts_its_hours_and_ends_with_its_person(database: Database, ada: str) -> None:
    with database.begin() as session:
        principal = users.check_password(session, "ada", "correct horse")
        value = users.open_session(session, principal)
    now = clock.now()
    with database.read() as session:
        found = users.session_of(session, value, now)
        assert found is not None
        assert (found[0].name, len(found[1]) >= 32) == ("ada", True)
        assert users.session_of(session, value + "x", now) is None
        assert users.session_of(session, value, now + timedelta(hours=users.SESSION_HOURS, seconds=1)) is None
        assert value not in [row.digest for row in session.scalars(select(WebSession))]
    with database.begin() as session:
        session.get_one(User, ada).disabled_at = now
    with database.read() as session:
        assert users.session_of(session, value, now) is None


def test_a_token_ends_with_its_person(database: Database, ada: str) -> None:
    with database.begin() as session:
        _, value = tokens.create(session, "laptop", ["read:dev"], actor="ada", user_id=ada)
    with database.read() as session:
        assert tokens.principal_of(session, value, clock.now()) is not None
    with database.begin() as session:
        session.get_one(User, ada).disabled_at = clock.now()
    with database.read() as session:
        assert tokens.principal_of(session, value, clock.now()) is None


def test_a_closed_session_opens_nothing(database: Database, ada: str) -> None:
    with database.begin() as session:
        value = users.open_session(session, users.check_password(session, "ada", "correct horse"))
    with database.begin() as session:
        users.close_session(session, value)
        users.close_session(session, value)
    with database.read() as session:
        assert users.session_of(session, value, clock.now()) is None


def test_ended_sessions_are_swept_by_the_next_log_in(database: Database, ada: str) -> None:
    with database.begin() as session:
        principal = users.check_password(session, "ada", "correct horse")
        users.open_session(session, principal)
        session.flush()
        session.scalars(select(WebSession)).one().expires_at = clock.now() - timedelta(seconds=1)
    with database.begin() as session:
        users.open_session(session, principal)
    with database.read() as session:
        assert len(session.scalars(select(WebSession)).all()) == 1


def test_an_unknown_name_costs_what_a_wrong_password_costs(database) -> None:
    """Both are held against a hash of the same parameters, so the time tells nobody who is there."""
    with database.begin() as session:
        known = users.add_user(session, "ada", "long enough", is_admin=False, actor="test").password_hash
    assert users._NOBODY.rsplit("$", 2)[0] == known.rsplit("$", 2)[0]
