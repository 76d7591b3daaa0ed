"""The sweep: compares what repositories hold with what was built, and builds what no delivery told of.

No SCM sends every push: GitHub says nothing of tags that come more than three at once and never sends a
lost delivery again, GitLab switches hooks off that fail. What a repository holds is the truth, so each one
is asked now and then; the first look only notes what is there.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Select, or_, select
from sqlalchemy.orm import Session, undefer

from buildfarm import clock, log
from buildfarm.config import Settings
from buildfarm.db.engine import Database
from buildfarm.errors import Conflict, FarmError
from buildfarm.farm import builds, sdists
from buildfarm.farm.model import Build
from buildfarm.farm.rules import FINAL, State
from buildfarm.ids import new_id
from buildfarm.scm import connections
from buildfarm.scm.hooking import watch
from buildfarm.scm.model import Delivery, DeliveryEvent, Sighting
from buildfarm.scm.port import Event, EventKind
from buildfarm.scm.reasons import Reason
from buildfarm.scm.rules import why_nothing
from buildfarm.sources.contract import Credential, FetchLimits, FetchRequest, Held
from buildfarm.sources.credentials import take_credential
from buildfarm.sources.fetcher import list_refs
from buildfarm.sources.model import REPOSITORY, Source
from buildfarm.sources.names import REMOVED

_log = log.get(__name__)

#: Patience with a repository that is asked for its refs.
_LOOK_S = 60.0
#: Shortest turn as a part of the interval: sources added together are not asked together for ever.
_JITTER = 0.8
#: A repository that is away is asked after two intervals, then four, at last after so many.
_RAREST = 8
#: Commits that are looked up by one query.
_BATCH = 500


@dataclass(frozen=True)
class Healer:
    """Looks at one repository after the other; any number of threads and keepers may."""

    database: Database
    settings: Settings
    ask: Callable[[FetchRequest], Mapping[str, Held]] = list_refs

    def look(self) -> bool:
        """Compare the repository whose turn it is with what was built of it; False when none is due."""
        turn = self._take_turn()
        if turn is None:
            return False
        source, credential = turn
        if source.moved_to:
            self._note_failure(source, _moved(source))
            return True
        request = FetchRequest(
            url=source.url,
            mirror_dir=self.settings.mirrors_dir / source.id,
            allow_file=self.settings.sources_allow_file,
            private_hosts=self.settings.sources_private_hosts,
            credential=credential,
            limits=FetchLimits(seconds=_LOOK_S),
        )
        try:
            held = self.ask(request)
        except FarmError as err:
            self._note_failure(source, err)
            return True
        with self.database.begin() as session:
            sighting = _still(session, source)
            if sighting is None:
                return True
            found = _compare(session, sighting, held)
            sighting.next_at = clock.now() + self._pause(0)
        for ref, build_id in found.items():
            _log.warning("sweep.found", source=source.name, ref=ref, build_id=build_id)
        return True

    def _take_turn(self) -> tuple[Source, Credential | None] | None:
        """The source that is due for longest, due again at its next turn whatever comes of this one."""
        with self.database.read() as session:
            if session.scalars(_due(clock.now())).first() is None:
                return None
        with self.database.begin() as session:
            now = clock.now()
            source = session.scalars(_due(now).with_for_update(of=Source, skip_locked=True)).first()
            if source is None:
                return None
            sighting = session.get(Sighting, source.id)
            if sighting is None:
                sighting = Sighting(source_id=source.id, failures=0)
                session.add(sighting)
            sighting.next_at = now + self._pause(sighting.failures)
            return source, take_credential(session, source.id)

    def _pause(self, failures: int) -> timedelta:
        longest = self.settings.timing.sweep_s * min(2**failures, _RAREST)
        return timedelta(seconds=longest * random.uniform(_JITTER, 1))  # noqa: S311 - spreads load

    def _note_failure(self, source: Source, error: FarmError) -> None:
        with self.database.begin() as session:
            sighting = _still(session, source)
            if sighting is None:
                return
            sighting.failures += 1
            sighting.next_at = clock.now() + self._pause(sighting.failures)
            sighting.problem, sighting.code = f"{error.message} {error.hint}".strip(), error.code
        _log.warning("sweep.no_answer", source=source.name, code=error.code, failures=sighting.failures)


def _moved(source: Source) -> Conflict:
    return Conflict(
        f"The SCM says that this repository is now at {source.moved_to}; its old name may be another's.",
        code="source.repository_moved",
        hint=f"Say where it is: `buildfarm source move {source.name} URL`.",
    )


def _due(now: datetime) -> Select[Source]:
    return (
        select(Source)
        .outerjoin(Sighting, Sighting.source_id == Source.id)
        .where(Source.name.not_like(f"%{REMOVED}%"), Source.scm != sdists.SCM, Source.scope == REPOSITORY)
        .where(or_(Sighting.next_at.is_(None), Sighting.next_at <= now))
        .order_by(Sighting.next_at.nulls_first(), Source.id)
        .limit(1)
    )


def _still(session: Session, asked: Source) -> Sighting | None:
    """The source's row, held; None where it was moved or removed while its repository was asked."""
    builds.hold_source(session, asked.id)
    source = session.get_one(Source, asked.id)
    if (source.name, source.url) != (asked.name, asked.url):
        return None
    return session.get(Sighting, asked.id, options=[undefer(Sighting.first_refs)])


def _compare(session: Session, sighting: Sighting, held: Mapping[str, Held]) -> dict[str, str]:
    """Start what is missing; the new builds by ref."""
    source_id = sighting.source_id
    source = session.get_one(Source, source_id)
    sighting.in_step_at, sighting.failures = clock.now(), 0
    sighting.problem = sighting.code = None
    if sighting.first_refs is None:
        sighting.first_refs = {ref: one.commit for ref, one in held.items()}
        return {}
    news = {
        ref: one
        for ref, one in held.items()
        if sighting.first_refs.get(ref) != one.commit and why_nothing(source, _event(ref, one)) is None
    }
    settled = set(_settled(session, source_id, news))
    found = {ref: _start(session, source, ref, one) for ref, one in news.items() if ref not in settled}
    if found:
        watch.look_soon(session, source_id)
        if connection := connections.covering(session, source):
            watch.look_soon(session, connection.id)
    return found


def _settled(session: Session, source_id: str, news: Mapping[str, Held]) -> Iterator[str]:
    """The refs of which what they hold was built, is being built, or shall not be.

    A build that gave way to a newer push counts as none: when its commit is the head again, it is wanted.
    What a person cancelled stays so. So does the verdict of a delivery whose commit asked for no build, or
    whose ref was not followed when it came.
    """
    unknown = select(Build.ref).where(
        Build.source_id == source_id,
        Build.commit.is_(None),
        Build.state.not_in(FINAL),
        Build.pull_request_id.is_(None),
    )
    yield from session.scalars(unknown)
    every = list(news.items())
    for begin in range(0, len(every), _BATCH):
        some = every[begin : begin + _BATCH]
        names = {(ref, oid) for ref, one in some for oid in (one.commit, one.tag) if oid}
        commits = [oid for _, oid in names]
        built = select(Build.ref, Build.commit).where(
            Build.source_id == source_id,
            Build.commit.in_(commits),
            Build.pull_request_id.is_(None),
            or_(Build.state != State.CANCELLED, Build.superseded_by.is_(None)),
        )
        refused = select(DeliveryEvent.ref, DeliveryEvent.commit).where(
            DeliveryEvent.source_id == source_id,
            DeliveryEvent.commit.in_(commits),
            DeliveryEvent.reason.in_((Reason.SKIP_REQUESTED, Reason.REF_NOT_FOLLOWED)),
        )
        for query in (built, refused):
            for ref, commit in session.execute(query):
                if (ref, commit) in names:
                    yield str(ref)


def _event(ref: str, held: Held) -> Event:
    kind = EventKind.TAG if ref.startswith("refs/tags/") else EventKind.PUSH
    return Event(kind, ref=ref, commit=held.commit)


def _start(session: Session, source: Source, ref: str, held: Held) -> str:
    """Note in the ledger what was found, and build it."""
    event = _event(ref, held)
    delivery = Delivery(
        id=new_id("dlv"),
        source_id=source.id,
        scm=source.scm,
        received_at=clock.now(),
        state="accepted",
        reason=Reason.FOUND_BY_SWEEP,
        kind=event.kind,
        ref=ref,
        commit=held.commit,
        headers={},
        body_sha256="",
        events=[DeliveryEvent(source_id=source.id, position=0, kind=event.kind, ref=ref, commit=held.commit)],
        steps=[{"name": "sweep", "ok": True, "detail": f"The repository holds {held.commit} as {ref}."}],
    )
    session.add(delivery)
    session.flush()
    build = builds.start(
        session,
        source,
        ref=ref,
        commit=held.commit,
        trigger="sweep",
        actor=None,
        delivery_id=delivery.id,
    )
    # What the repository holds now is newer than all that was announced of the ref.
    builds.supersede(session, build, {})
    return build.id
