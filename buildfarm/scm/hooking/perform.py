"""Doing what was ordered about a hook, by the SCM's API, and looking at the hook afterwards."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from sqlalchemy import func, or_, select

from buildfarm import clock, log
from buildfarm.db.engine import Database
from buildfarm.errors import Conflict, FarmError
from buildfarm.farm import claims
from buildfarm.farm.model import Task
from buildfarm.farm.rules import State
from buildfarm.journal.record import record
from buildfarm.scm import connect
from buildfarm.scm.forges.access import access_of, opened, opening
from buildfarm.scm.forges.faults import away
from buildfarm.scm.forges.port import HookForge, WantedHook
from buildfarm.scm.hooking import rules, watch
from buildfarm.scm.hooking.model import HookOrder
from buildfarm.scm.hooking.rules import Health, Ping, Verb
from buildfarm.scm.model import Delivery
from buildfarm.sources.model import Source, SourceSecret

_log = log.get(__name__)
#: SCMs call within a second or two of being asked; GitLab before it answers.
_PING_S = 15.0
_LOOK_S = 0.2


@dataclass(frozen=True)
class Performer:
    """Performs orders under the claim `task` = (id, attempt)."""

    database: Database
    public_url: str
    task: tuple[str, int]

    def perform(self, order_id: str) -> None:
        """Do it, and write what came of it to the order.

        Raises:
            StaleAttempt: the claim is no longer held; another worker does it, and that once more is harmless.
        """
        with self.database.read() as session:
            order = session.get_one(HookOrder, order_id)
        try:
            health = self._do(order)
        except FarmError as err:
            self._end(order, "failed", error=err)
        except Exception:  # noqa: BLE001 - somebody waits for an answer, whatever it is
            _log.exception("hook.not_done", order=order.id)
            self._end(order, "failed", error=away("What it answered cannot be read"))
        else:
            self._end(order, "done", health=health)

    def _do(self, order: HookOrder) -> Health:
        with self.database.begin() as session:
            claims.heartbeat(session, Task, *self.task)
            source = session.get_one(Source, order.source_id)
            known, name = access_of(session, source).hook_id, source.name
            what = opening(session, source)
        url = connect.hook_url(self.public_url, name)
        with opened(what) as forge:
            hook = rules.find(forge.hooks(), known, url)
            match Verb(order.verb):
                case Verb.REMOVE if hook is not None:
                    forge.delete_hook(hook.id)
                    self._remember(order.source_id, None)
                case Verb.REPAIR | Verb.ROTATE:
                    wanted = self._wanted(order, url)
                    hook = forge.edit_hook(hook.id, wanted) if hook else forge.create_hook(wanted)
                    self._remember(order.source_id, hook.id)
            return self._look(forge, order, url)

    def _wanted(self, order: HookOrder, url: str) -> WantedHook:
        """The hook with the newest secrets; for a rotation they are made now, beside the old."""
        with self.database.begin() as session:
            source = session.get_one(Source, order.source_id)
            if order.verb == Verb.ROTATE and not _is_half_rotated(source.secrets):
                connect.rotate_secrets(session, source, actor=order.actor)
                session.flush()
                session.refresh(source)
            newest = {one.kind: one.value for one in source.secrets}  # in the order of their making
        if not newest:
            raise Conflict(
                "The source has no live secret.",
                code="source.no_secret",
                hint="`source hook rotate` makes one.",
            )
        signing = newest.get("signing")
        first = next((value for kind, value in newest.items() if kind != "signing"), signing or "")
        return WantedHook(url, first, signing if signing != first else None)

    def _look(self, forge: HookForge, order: HookOrder, url: str) -> Health:
        hooks = forge.hooks()
        with self.database.read() as session:
            known = access_of(session, session.get_one(Source, order.source_id)).hook_id
        hook = rules.find(hooks, known, url)
        is_removed = order.verb == Verb.REMOVE and hook is None
        ping, delivery, detail = Ping.NOT_ASKED, None, ""
        if hook is not None and order.verb != Verb.REMOVE:
            ping, delivery, detail = self._ping(forge, hook.id, order.source_id)
        return Health(
            hook_id=hook.id if hook else None,
            url=hook.url if hook else url,
            enabled=hook is not None and hook.enabled,
            events=tuple(sorted(hook.events)) if hook else (),
            drift=() if is_removed else rules.drift(hooks, hook, url, forge.events),
            trouble=hook.trouble if hook else "",
            ping=ping,
            ping_delivery=delivery,
            ping_detail=detail,
        )

    def _ping(self, forge: HookForge, hook_id: str, source_id: str) -> tuple[Ping, str | None, str]:
        """Have the SCM call the hook, and wait for its call to come in."""
        if not forge.pings:
            return Ping.NOT_OFFERED, None, "This SCM cannot be asked to call; push to see it work."
        # By ids, which web makes as it makes those of the calls before: this host's clock may differ.
        last, asked_at = self._newest(source_id) or "", time.monotonic()
        try:
            forge.ping_hook(hook_id)
        except Conflict as err:
            return Ping.REFUSED, None, str(err)
        while (took := time.monotonic() - asked_at) < _PING_S:
            if delivery := self._newest(source_id, last):
                return self._came(delivery, took)
            time.sleep(_LOOK_S)
        detail = f"No call came within {_PING_S:.0f} s: can the SCM reach {self.public_url}?"
        return Ping.LOST, None, detail

    def _newest(self, source_id: str, after: str = "") -> str | None:
        """The id of the last delivery by the hook; a connection's are noted at the sources they are for."""
        by_hook = or_(Delivery.source_id == source_id, Delivery.connection_id == source_id)
        with self.database.read() as session:
            newest = select(func.max(Delivery.id)).where(by_hook, Delivery.id > after)
            return session.execute(newest).scalar_one()

    def _came(self, delivery_id: str, took: float) -> tuple[Ping, str | None, str]:
        with self.database.read() as session:
            state = session.get_one(Delivery, delivery_id).state
        if state == "rejected":
            return Ping.REFUSED, delivery_id, "The call came and was refused: its delivery says why."
        return Ping.CAME, delivery_id, f"It came after {took:.1f} s."

    def _remember(self, source_id: str, hook_id: str | None) -> None:
        with self.database.begin() as session:
            claims.heartbeat(session, Task, *self.task)
            access_of(session, session.get_one(Source, source_id)).hook_id = hook_id

    def _end(
        self, order: HookOrder, state: str, *, health: Health | None = None, error: FarmError | None = None
    ) -> None:
        with self.database.begin() as session:
            claims.finish(session, Task, *self.task, State.SUCCEEDED)
            row = session.get_one(HookOrder, order.id)
            row.state, row.done_at = state, clock.now()
            row.error, row.code = (str(error), error.code) if error else (None, None)
            row.health = asdict(health) if health else None
            watch.look_soon(session, order.source_id)
            if order.verb != Verb.CHECK:
                record(
                    session,
                    "source.hook",
                    source=order.source_id,
                    verb=order.verb,
                    outcome=state,
                    hook=health.hook_id if health else None,
                    actor=order.actor,
                )


def _is_half_rotated(secrets: Sequence[SourceSecret]) -> bool:
    """Whether the SCM may not have the newest secrets yet: others would end those that it signs with."""
    newest = {one.kind: one for one in secrets}
    return len(secrets) > len(newest) and not any(one.last_used_at for one in newest.values())
