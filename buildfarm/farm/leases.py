"""Leases: roles that one holder has at a time, and since when they have been held without a gap.

The keeper's role makes one of several keepers active. A web node's role says that its web processes
answer: the silence of a builder counts only while somebody could have heard it.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, case, delete, func, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from buildfarm import clock
from buildfarm.db.engine import Database
from buildfarm.farm.model import Lease

KEEPER = "keeper"
_WEB = "web/"


def web_of(node: str) -> str:
    """The role of a web node."""
    return _WEB + node


def hold(database: Database, role: str, holder: str, seconds: float) -> bool:
    """Take or renew a role for so many seconds; False while another one holds it.

    A role that was renewed too late counts as held anew.
    """
    now = clock.now()
    until = now + timedelta(seconds=seconds)
    with database.begin() as session:
        insert = sqlite.insert if session.get_bind().dialect.name == "sqlite" else postgresql.insert
        fresh = insert(Lease).values(name=role, holder=holder, until=until, since=now)
        session.execute(fresh.on_conflict_do_nothing())
        held = session.execute(
            update(Lease)
            .where(Lease.name == role, (Lease.holder == holder) | (Lease.until < now))
            .values(holder=holder, until=until, since=case((Lease.until < now, now), else_=Lease.since))
            .returning(Lease.holder)
        ).scalar_one_or_none()
    return held == holder


def release(database: Database, role: str, holder: str) -> None:
    """Give a role up, so that another holder need not wait for its end."""
    with database.begin() as session:
        session.execute(delete(Lease).where(Lease.name == role, Lease.holder == holder))


def kept_since(session: Session) -> datetime | None:
    """Since when there has been a keeper without a gap, and a database with it; None while there is none."""
    return _since(session, Lease.name == KEEPER)


def answered_since(session: Session) -> datetime | None:
    """Since when some web node has answered without a gap; None while none does.

    Of several nodes the steadiest counts: where another one took over, the time begins anew, which
    gives a builder more time and never less.
    """
    return _since(session, Lease.name.startswith(_WEB))


def _since(session: Session, roles: ColumnElement[bool]) -> datetime | None:
    held = select(func.min(Lease.since)).where(roles, Lease.until >= clock.now())
    return session.execute(held).scalar_one()
