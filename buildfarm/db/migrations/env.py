"""Alembic's environment: the engine comes from `buildfarm.db.migrate`, the models from `buildfarm.tables`."""

from __future__ import annotations

from typing import Any, Literal

from alembic import context
from alembic.autogenerate.api import AutogenContext
from sqlalchemy import JSON

from buildfarm.db.types import Packed, UtcDateTime
from buildfarm.tables import Base


def render_item(kind: str, item: Any, autogen: AutogenContext) -> str | Literal[False]:  # noqa: ANN401
    """Write our column types by name in new migrations."""
    if kind == "type" and isinstance(item, UtcDateTime | Packed | JSON):
        autogen.imports.add("from buildfarm.db import types")
        return "types.Json" if isinstance(item, JSON) else f"types.{type(item).__name__}()"
    return False


engine = context.config.attributes["engine"]
with engine.begin() as connection:
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        render_as_batch=True,
        render_item=render_item,
        transaction_per_migration=False,
    )
    context.run_migrations()
