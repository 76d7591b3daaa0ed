"""Looking after hooks unasked: is each one well, and what shall its SCM send again?

The keeper queues a look at each hook now and then, a worker that may speak to SCMs takes it. What the SCM
itself stopped, for calls that failed, is set going again; what a person changed there is said and left.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from sqlalchemy import delete, or_, select, update
from sqlalchemy.orm import Session

from buildfarm import clock, log
from buildfarm.db.engine import Database
from buildfarm.errors import Conflict, FarmError
from buildfarm.farm import claims
from buildfarm.farm.builds import WATCH, add_task
from buildfarm.farm.model import Task
from buildfarm.farm.rules import FINAL, State
from buildfarm.ids import new_id
from buildfarm.scm.answers.pause import pause, paused
from buildfarm.scm.connect import hook_url
from buildfarm.scm.forges.access import opened, opening
from buildfarm.scm.forges.faults import away
from buildfarm.scm.forges.model import ForgeAccess
from buildfarm.scm.forges.port import FailedDelivery, Hook, HookForge
from buildfarm.scm.hooking import rules
from buildfarm.scm.hooking.model import HookHealing, HookWatch
from buildfarm.sources.model import Source

_log = log.get(__name__)

#: From one look at a hook to the next; the sweep finds a lost push long before. An SCM counts requests.
_INTERVAL = timedelta(minutes=30)
#: Where more was to be sent again than one look may ask for.
_SOON = timedelta(minutes=1)
#: GitHub keeps deliveries for three days.
_REACH = timedelta(days=3)
#: Deliveries that one look asks for, and looks that one round queues.
_AT_MOST, _AT_ONCE = 20, 20
#: How long it is shown what was healed; longer than `_REACH`, or it would be asked for again.
_KEPT = timedelta(days=30)


@dataclass
class _Seen:
    """What one look found: `problem` is for people, empty when all is well; `code` where it failed."""

    problem: str = ""
    code: str | None = None
    resumed: str = ""
    sent_again: list[str] = field(default_factory=list)
    is_more: bool = False


def start_looking(database: Database) -> int:
    """A task for each hook that is due to be looked at; how many were made. For each round."""
    with database.read() as session:
        if not _due(session):
            return 0
    made = 0
    with database.begin() as session:
        for source_id in _due(session):
            row = session.get(HookWatch, source_id) or HookWatch(source_id=source_id)
            row.next_at = clock.now() + _INTERVAL
            session.add(row)
            mine = (Task.kind == WATCH) & (Task.subject == source_id)
            session.execute(delete(Task).where(mine, Task.state.in_(FINAL)))
            if session.execute(select(Task.id).where(mine)).first() is None:
                add_task(session, WATCH, source_id)
                made += 1
    return made


def look_soon(session: Session, source_id: str) -> None:
    """Something happened that makes a look worth while: the next one is now."""
    session.execute(update(HookWatch).where(HookWatch.source_id == source_id).values(next_at=clock.now()))


@dataclass(frozen=True)
class Watcher:
    """Looks at hooks under the claim `task` = (id, attempt)."""

    database: Database
    public_url: str
    task: tuple[str, int]

    def look(self, source_id: str) -> None:
        """Note how the source's hook is, and put right what can be.

        Raises:
            StaleAttempt: the claim is no longer held; another worker looks.
        """
        with self.database.begin() as session:
            claims.heartbeat(session, Task, *self.task)
            source = session.get_one(Source, source_id)
            query = select(ForgeAccess.hook_id, ForgeAccess.host).where(ForgeAccess.source_id == source_id)
            access = session.execute(query).first()
            if access is None:
                claims.finish(session, Task, *self.task, State.SUCCEEDED)
                return
            known, host, name = access.hook_id, access.host, source.name
            what, asked = opening(session, source), _asked(session, source_id)
        refusal = None
        try:
            with opened(what) as forge:
                seen = _look(forge, known, hook_url(self.public_url, name), asked)
        except FarmError as err:
            refusal, seen = err, _not_asked(err)
        except Exception:  # noqa: BLE001 - what nobody foresaw is met anew in the next look
            _log.exception("hook.not_read", source=name)
            seen = _not_asked(away("What it answered cannot be read"))
        if seen.resumed or seen.sent_again:
            _log.warning("hook.healed", source=name, resumed=seen.resumed, sent_again=seen.sent_again)
        with self.database.begin() as session:
            claims.finish(session, Task, *self.task, State.SUCCEEDED)
            if refusal and refusal.code == "forge.rate_limited":
                pause(session, host, refusal)
            _note(session, source_id, seen)


def _due(session: Session) -> Sequence[str]:
    left_alone = paused(session)
    return session.scalars(
        select(ForgeAccess.source_id)
        .outerjoin(HookWatch, HookWatch.source_id == ForgeAccess.source_id)
        .where(or_(HookWatch.next_at.is_(None), HookWatch.next_at <= clock.now()))
        .where(ForgeAccess.host.not_in(left_alone), ForgeAccess.source_id.not_in(left_alone))
        .order_by(HookWatch.next_at.nulls_first(), ForgeAccess.source_id)
        .limit(_AT_ONCE)
    ).all()


def _asked(session: Session, source_id: str) -> set[str]:
    """The deliveries that the SCM was asked for before."""
    rows = session.scalars(select(HookHealing.carried).where(HookHealing.source_id == source_id))
    return {one for carried in rows for one in carried}


def _look(forge: HookForge, known: str | None, url: str, asked: Collection[str]) -> _Seen:
    hooks = forge.hooks()
    hook = rules.find(hooks, known, url)
    if hook is None:
        # Calls may come by a hook of the group or organisation, which is none of the repository's.
        return _Seen("The hook that the farm made is gone." if known else "")
    seen = _Seen()
    if hook.suspended:
        hooks, hook = _resume(forge, hook, seen)
    if forge.redelivers:
        _send_again(forge, hook, asked, seen)
    trouble = "" if seen.sent_again else hook.trouble
    found = [*rules.drift(hooks, hook, url, forge.events), trouble, seen.problem]
    if any(found):
        # An SCM may say that it is switched off in the words that drift has for it.
        seen.problem = " ".join(dict.fromkeys(filter(None, ["The hook is not as it should be.", *found])))
    return seen


def _not_asked(err: FarmError) -> _Seen:
    return _Seen(f"The SCM could not be asked about the hook. {err}", err.code)


def _resume(forge: HookForge, hook: Hook, seen: _Seen) -> tuple[Sequence[Hook], Hook]:
    """Set a hook going that the SCM stopped; the hooks and this one as they are then."""
    try:
        forge.ping_hook(hook.id)
    except Conflict as err:
        seen.problem = f"A test call was to set it going again, but: {err.message}"
    hooks = forge.hooks()
    now = next((one for one in hooks if one.id == hook.id), hook)
    if not now.suspended:
        seen.resumed = f"The SCM had stopped calling the hook, and calls it again. ({hook.trouble})"
    return hooks, now


def _send_again(forge: HookForge, hook: Hook, asked: Collection[str], seen: _Seen) -> None:
    """Have the SCM send what failed, each once: what the farm refuses twice, it refuses for ever."""
    failed = forge.failed_deliveries(hook.id, clock.now() - _REACH)
    wanted = [one for one in failed if one.delivery_id not in asked]
    for one in wanted[:_AT_MOST]:
        _redeliver(forge, hook, one)
        seen.sent_again.append(one.delivery_id)
    seen.is_more = len(wanted) > _AT_MOST


def _redeliver(forge: HookForge, hook: Hook, delivery: FailedDelivery) -> None:
    try:
        forge.redeliver(hook.id, delivery)
    except Conflict as err:
        # It is too old for the SCM, or met the same end: the sweep builds what it told of.
        _log.warning("hook.not_sent_again", delivery=delivery.delivery_id, code=err.code)


def _note(session: Session, source_id: str, seen: _Seen) -> None:
    now = clock.now()
    row = session.get_one(HookWatch, source_id)
    row.looked_at, row.problem, row.code = now, seen.problem or None, seen.code
    row.next_at = now + (_SOON if seen.is_more else _INTERVAL)
    session.execute(
        delete(HookHealing).where(HookHealing.source_id == source_id, HookHealing.at < now - _KEPT)
    )
    count = len(seen.sent_again)
    again = f"{count} failed {'delivery' if count == 1 else 'deliveries'} sent again by the SCM."
    healed = {"resumed": (seen.resumed, []), "sent_again": (again if count else "", seen.sent_again)}
    for kind, (sentence, carried) in healed.items():
        if sentence:
            session.add(
                HookHealing(
                    id=new_id("hkh"),
                    source_id=source_id,
                    at=now,
                    kind=kind,
                    sentence=sentence,
                    carried=carried,
                )
            )
