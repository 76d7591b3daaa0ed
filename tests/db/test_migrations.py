from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect, text

from buildfarm.db import migrate
from buildfarm.db.engine import Database
from buildfarm.errors import EnvironmentProblem
from buildfarm.tables import Base


@pytest.fixture(params=["sqlite", "postgresql"])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """A database without any table."""
    if request.param == "sqlite":
        database = Database(f"sqlite:///{tmp_path / 'empty.db'}")
        yield database
        database.close()
        return
    cluster = request.getfixturevalue("postgres")
    name = cluster.fresh()
    database = Database(cluster.url(name))
    yield database
    database.close()
    cluster.run(f"DROP DATABASE {name} WITH (FORCE)")


def test_migrations_and_models_agree(empty: Database) -> None:
    migrate.upgrade(empty)
    with empty.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []


def test_a_database_that_is_up_to_date_stays_as_it_is(empty: Database) -> None:
    migrate.upgrade(empty)
    migrate.upgrade(empty)
    current, head = migrate.revisions(empty)
    assert current == head is not None
    with empty.read() as session:
        assert session.execute(text("SELECT size FROM journal_head")).scalars().all() == [0]


def test_an_empty_database_has_no_revision(empty: Database) -> None:
    assert migrate.revisions(empty)[0] is None


def test_a_database_newer_than_the_code_is_refused_and_left_alone(empty: Database) -> None:
    migrate.upgrade(empty)
    with empty.begin() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(EnvironmentProblem) as caught:
        migrate.upgrade(empty)
    assert caught.value.code == "database.newer"
    assert "9999" in caught.value.message
    assert migrate.revisions(empty)[0] == "9999"


def test_every_constraint_has_a_name_that_migrations_can_address(empty: Database) -> None:
    migrate.upgrade(empty)
    found = inspect(empty.engine)
    for table in Base.metadata.tables:
        assert found.get_pk_constraint(table)["name"] == f"pk_{table}"
        assert all(key["name"] for key in found.get_foreign_keys(table))
        assert all(key["name"] for key in found.get_unique_constraints(table))
