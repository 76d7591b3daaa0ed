"""Bring the schema up to date, and refuse to run on one that is newer than the code.

Alembic is imported here alone: it costs half a second of CPU, which only `up` and `doctor` pay.
"""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError

from buildfarm.db.engine import Database
from buildfarm.errors import EnvironmentProblem


def _config(database: Database) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["engine"] = database.engine
    return config


def upgrade(database: Database) -> None:
    """Apply every missing migration; idempotent.

    Raises:
        EnvironmentProblem: `database.newer`, the schema was written by a newer release.
    """
    config = _config(database)
    try:
        command.upgrade(config, "head")
    except CommandError as err:
        current, head = revisions(database)
        raise EnvironmentProblem(
            f"The database is at revision {current}, which this release (at {head}) does not know.",
            code="database.newer",
            hint="Start the release that wrote it, or restore a backup of this one.",
        ) from err


def revisions(database: Database) -> tuple[str | None, str | None]:
    """The revision of the database, and the newest that this code knows."""
    with database.engine.connect() as connection:
        current = MigrationContext.configure(connection).get_current_revision()
    return current, ScriptDirectory.from_config(_config(database)).get_current_head()
