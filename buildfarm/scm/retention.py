"""What of the ledger goes with age: first the bodies, later the rows that started nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from sqlalchemy import Select, delete, select, update
from sqlalchemy.orm import Session

from buildfarm.config import Ledger
from buildfarm.db.engine import Database
from buildfarm.farm.model import Build
from buildfarm.ids import first_id
from buildfarm.scm.model import Delivery, DeliveryEvent

#: Rows of one transaction: deliveries that come meanwhile must not wait for long.
_BATCH = 500


def drop_old(database: Database, kept: Ledger, now: datetime) -> tuple[int, int]:
    """Drop what is older than the settings keep; how many bodies and how many rows.

    The row of a delivery that started a build stays as long as the build: it says where it came from.
    """
    old = Delivery.id < first_id("dlv", now - timedelta(days=kept.bodies_days))
    bodies = select(Delivery.id).where(old, Delivery.body.is_not(None)).limit(_BATCH)
    older = Delivery.id < first_id("dlv", now - timedelta(days=kept.rows_days))
    rows = (
        select(Delivery.id)
        .where(older, Delivery.state.in_(("ignored", "rejected")))
        .where(~select(Build.id).where(Build.delivery_id == Delivery.id).exists())
        .limit(_BATCH)
    )
    return _repeat(database, bodies, _drop_bodies), _repeat(database, rows, _drop_rows)


def _repeat(database: Database, some: Select[str], drop: Callable[[Session, Sequence[str]], None]) -> int:
    """Drop what is selected, batch by batch, until nothing is."""
    total = 0
    while True:
        with database.begin() as session:
            ids = session.scalars(some).all()
            drop(session, ids)
        total += len(ids)
        if len(ids) < _BATCH:
            return total


def _drop_bodies(session: Session, ids: Sequence[str]) -> None:
    session.execute(update(Delivery).where(Delivery.id.in_(ids)).values(body=None))


def _drop_rows(session: Session, ids: Sequence[str]) -> None:
    session.execute(delete(DeliveryEvent).where(DeliveryEvent.delivery_id.in_(ids)))
    session.execute(delete(Delivery).where(Delivery.id.in_(ids)))
