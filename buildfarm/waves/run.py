"""A wave's life: opened from a preview, carried on by the keeper, cancelled by a person."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from buildfarm import clock, log
from buildfarm.db.engine import Database
from buildfarm.errors import Conflict, FarmError, InvalidInput, NotFound
from buildfarm.farm import builds
from buildfarm.farm.model import Build
from buildfarm.farm.rules import State
from buildfarm.index import channels, rebuilds
from buildfarm.journal.record import record
from buildfarm.sources.model import Source
from buildfarm.waves import rules
from buildfarm.waves.model import Member, Wave
from buildfarm.waves.preview import Preview
from buildfarm.waves.rules import MemberState, WaveState

_log = log.get(__name__)


def open_wave(session: Session, planned: Preview, *, actor: str) -> Wave:
    """Start what a preview shows; its first builds are queued in the same transaction.

    Raises:
        InvalidInput: `wave.empty`, nothing would be built.
        Conflict: `wave.open`, another wave of the channel is under way; `wave.meets`, one of another channel
            has a release of this one.
    """
    if not planned.members:
        raise InvalidInput("This concerns no release: nothing would be built.", code="wave.empty")
    demand_apart(session, planned.channel, [(one.project, one.version) for one in planned.members])
    number = 1 + (session.scalar(select(func.max(Wave.number))) or 0)
    channels.create_candidate(session, f"wave-{number}", of=planned.channel, actor=actor)
    session.flush()
    wave = Wave(
        id=f"wave-{number}",
        number=number,
        trigger=planned.trigger,
        subject=planned.subject,
        channel=planned.channel,
        state=WaveState.RUNNING,
        actor=actor,
        created_at=clock.now(),
        promotions=[],
        members=[
            Member(
                project=one.project,
                version=one.version,
                level=one.level,
                is_first=one.is_first,
                why=one.why,
                waits_for=list(one.waits_for),
                seconds=round(one.seconds),
                state=MemberState.WAITING,
                build_id=one.build_id,
            )
            for one in planned.members
        ],
    )
    session.add(wave)
    session.flush()
    releases = [f"{one.project} {one.version}" for one in planned.members]
    record(
        session, "wave.open", wave=wave.id, trigger=wave.trigger, subject=wave.subject, channel=wave.channel,
        releases=releases, actor=actor,
    )  # fmt: skip
    advance(session, wave.id)
    return wave


def demand_apart(session: Session, channel: str, releases: Iterable[tuple[str, str]]) -> None:
    """Refuse a second wave of a channel, and one for releases = (project, version) that another one has.

    Waves begin one after the other, so that of two the later sees the earlier one: the first rung is held.

    Raises:
        Conflict: `wave.open`, `wave.meets`.
    """
    channels.hold(session, channels.LADDER[0])
    channels.hold_durable(session, channel)
    wanted = set(releases)
    for other in under_way(session):
        if other.channel == channel:
            raise Conflict(
                f"{other.id} of the channel {channel} is not over.",
                code="wave.open",
                hint="Promote it or cancel it; two at once would rebuild the same releases.",
            )
        if shared := sorted(wanted & {(one.project, one.version) for one in other.members}):
            raise Conflict(
                f"{other.id} of the channel {other.channel} rebuilds {' '.join(shared[0])} as well.",
                code="wave.meets",
                hint="Promote it or cancel it first: of two rebuilds of a release installers take the later.",
            )


def under_way(session: Session) -> Sequence[Wave]:
    """The waves that are neither promoted nor cancelled."""
    over = Wave.state.in_([WaveState.PROMOTED, WaveState.CANCELLED])
    return session.scalars(select(Wave).where(~over).order_by(Wave.number)).all()


def get(session: Session, wave_id: str) -> Wave:
    """One wave.

    Raises:
        NotFound: `wave.unknown`.
    """
    wave = session.get(Wave, wave_id)
    if wave is None:
        raise NotFound(
            f"There is no {wave_id[:60]}.", code="wave.unknown", hint="`buildfarm wave list` shows them all."
        )
    return wave


def hold(session: Session, wave_id: str) -> Wave:
    """One wave, which no other transaction changes until this one ends.

    Raises:
        NotFound: `wave.unknown`.
    """
    held = session.get(Wave, wave_id, with_for_update=True, populate_existing=True)
    return held or get(session, wave_id)


def advance_all(database: Database) -> int:
    """One step of every running wave, each in a transaction of its own; how many there are."""
    with database.read() as session:
        running = session.scalars(select(Wave.id).where(Wave.state == WaveState.RUNNING)).all()
    for wave_id in running:
        try:
            with database.begin() as session:
                advance(session, wave_id)
        except FarmError as err:  # of one wave, which is no matter of the others
            _log.warning("wave.not_advanced", wave=wave_id, code=err.code, message=err.message)
    return len(running)


def advance(session: Session, wave_id: str) -> None:
    """Note which builds ended, start what waited for them; idempotent, a wave that is over stays as it is.

    What waits for a build that cannot be started is looked at in the next step.
    """
    wave = hold(session, wave_id)
    if wave.state != WaveState.RUNNING:
        return
    members = {one.project: one for one in wave.members}
    for one in wave.members:
        if one.state == MemberState.BUILDING and one.rebuild_id:
            _follow(one, session.get_one(Build, one.rebuild_id, populate_existing=True))
    after = rules.next_of({name: _standing(one) for name, one in members.items()})
    for name, state in after.items():
        members[name].state = state
        if state is MemberState.SKIPPED:
            members[name].reason = _what_broke(members, members[name])
    begun = [members[name] for name, state in after.items() if state is MemberState.BUILDING]
    _hold_sources(session, begun)
    for one in begun:
        _start(session, wave, one)
    if all(one.state in rules.THROUGH for one in wave.members):
        wave.state = WaveState.READY


def _hold_sources(session: Session, begun: Iterable[Member]) -> None:
    """Before builds of several sources are numbered: in one order, or two waves would wait for each other."""
    made = select(Build.source_id).where(Build.id.in_([one.build_id for one in begun]))
    session.execute(select(Source.id).where(Source.id.in_(made)).order_by(Source.id).with_for_update())


def cancel(session: Session, wave_id: str, *, actor: str) -> tuple[Wave, list[str]]:
    """End a wave: its builds are cancelled, its candidate is emptied; also the ids of those builds.

    Raises:
        NotFound: `wave.unknown`.
        Conflict: `wave.over`, it was promoted or cancelled.
    """
    wave = hold(session, wave_id)
    if wave.state in {WaveState.PROMOTED, WaveState.CANCELLED}:
        raise Conflict(f"{wave_id} is {wave.state} already.", code="wave.over")
    called_off = []
    for one in wave.members:
        build = session.get(Build, one.rebuild_id) if one.rebuild_id else None
        if build and State(build.state) in {State.QUEUED, State.RUNNING}:
            builds.cancel(session, build.id, actor=actor)
            called_off.append(build.id)
        if one.state not in rules.THROUGH:
            one.state = MemberState.CANCELLED
    wave.state, wave.ended_at = WaveState.CANCELLED, clock.now()
    channels.close_candidate(session, wave.id, actor=actor)
    record(session, "wave.cancel", wave=wave.id, actor=actor)
    return wave, called_off


def _follow(member: Member, build: Build) -> None:
    member.state = rules.end_of(State(build.state))
    if member.state in rules.BROKEN:
        member.reason = build.first_error


def _start(session: Session, wave: Wave, member: Member) -> None:
    try:
        build = rebuilds.rebuild(
            session, build_id=member.build_id, channel=wave.id, wave_id=wave.id, actor=wave.actor
        )
        member.rebuild_id = build.id
    except FarmError as err:
        member.state, member.reason = MemberState.FAILED, str(err)


def _standing(member: Member) -> rules.Standing:
    return rules.Standing(MemberState(member.state), member.is_first, frozenset(member.waits_for))


def _what_broke(members: dict[str, Member], member: Member) -> str:
    broken = [name for name in member.waits_for if members[name].state in rules.BROKEN]
    return f"Not built, for {', '.join(sorted(broken))} failed."
