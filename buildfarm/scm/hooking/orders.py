"""Ordering something about a source's hook, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from buildfarm import clock
from buildfarm.errors import InvalidInput
from buildfarm.farm.builds import HOOK, add_task
from buildfarm.ids import new_id
from buildfarm.scm.forges.access import access_of
from buildfarm.scm.hooking.model import HookOrder
from buildfarm.scm.hooking.rules import Health, Ping, Verb
from buildfarm.sources.model import Source


@dataclass(frozen=True)
class OrderRow:
    """What was asked about a hook and what came of it; `health` is null until it is done.

    `error` says why it failed, `code` is the error's.
    """

    id: str
    verb: str
    actor: str
    state: str
    error: str | None
    code: str | None
    good: bool | None
    health: Health | None
    created_at: datetime
    done_at: datetime | None


def place(session: Session, source: Source, verb: Verb, *, actor: str) -> OrderRow:
    """Have a worker do it.

    Raises:
        NotFound: `forge.no_token`.
    """
    access_of(session, source)
    order = HookOrder(
        id=new_id("hko"), source_id=source.id, verb=verb, actor=actor, state="waiting", created_at=clock.now()
    )
    session.add(order)
    session.flush()
    add_task(session, HOOK, order.id)
    return _row(order)


def verb_of(text: str) -> Verb:
    """The verb by its name.

    Raises:
        InvalidInput: `hook.verb`.
    """
    try:
        return Verb(text)
    except ValueError:
        hint = f"Choose one of {', '.join(Verb)}."
        raise InvalidInput("A hook knows no such verb.", code="hook.verb", hint=hint) from None


def newest(session: Session, source_id: str) -> OrderRow | None:
    """The last thing that was asked about the source's hook."""
    order = session.scalars(
        select(HookOrder).where(HookOrder.source_id == source_id).order_by(HookOrder.id.desc()).limit(1)
    ).first()
    return _row(order) if order else None


def _row(order: HookOrder) -> OrderRow:
    health = _health(order.health) if order.health else None
    return OrderRow(
        id=order.id,
        verb=order.verb,
        actor=order.actor,
        state=order.state,
        error=order.error,
        code=order.code,
        good=health.is_good if health and order.verb != Verb.REMOVE else None,
        health=health,
        created_at=order.created_at,
        done_at=order.done_at,
    )


def _health(kept: dict[str, Any]) -> Health:
    lists = {name: tuple(kept[name]) for name in ("events", "drift")}
    return Health(**{**kept, **lists, "ping": Ping(kept["ping"])})
