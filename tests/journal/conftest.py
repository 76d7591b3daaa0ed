from __future__ import annotations

from collections.abc import Iterator

import pytest

from buildfarm.db.engine import Database
from buildfarm.journal.record import append_recorded


@pytest.fixture
def sqlite_database(sqlite_url: str) -> Iterator[Database]:
    """One database for all examples of a property: the log only grows."""
    database = Database(sqlite_url, before_commit=append_recorded)
    yield database
    database.close()
