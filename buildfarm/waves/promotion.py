"""The results of a wave enter its channel together or not at all, and leave it together."""

from __future__ import annotations

from sqlalchemy.orm import Session

from buildfarm import clock
from buildfarm.errors import Conflict
from buildfarm.index import promote as promotions
from buildfarm.index.admission import Admission
from buildfarm.journal.record import record
from buildfarm.waves import rules, run
from buildfarm.waves.model import Wave
from buildfarm.waves.rules import WaveState


def promote(
    session: Session, admission: Admission, wave_id: str, *, is_partial: bool = False, actor: str
) -> Wave:
    """Move every new file of a wave into its channel, in one transaction.

    `is_partial` leaves behind what failed, and what was not built for its sake.

    Raises:
        NotFound: `wave.unknown`.
        Conflict: `wave.running`; `wave.over`; `wave.failed`, some members failed and `is_partial` is not
            said; `promotion.nothing_new`, all came out equal; `promotion.yanked`.
        Forbidden: `project.closed`.
        IntegrityFailure, ExternalFailure: a statement does not verify; see `Admission.promote`.
    """
    wave = run.hold(session, wave_id)
    if wave.state == WaveState.RUNNING:
        raise Conflict(f"{wave_id} is still building.", code="wave.running")
    if wave.state != WaveState.READY:
        raise Conflict(f"{wave_id} is {wave.state} already.", code="wave.over")
    broken = [one.project for one in wave.members if one.state in rules.BROKEN]
    if broken and not is_partial:
        raise Conflict(
            f"Of {wave_id} {', '.join(broken)} failed or was not built.",
            code="wave.failed",
            hint="Promote without them by `buildfarm wave promote --partial`, or cancel the wave.",
        )
    wave.promotions = [one.id for one in admission.promote_set(session, wave.id, actor=actor)]
    wave.state, wave.ended_at = WaveState.PROMOTED, clock.now()
    record(session, "wave.promote", wave=wave.id, channel=wave.channel, left_behind=broken, actor=actor)
    return wave


def undo(session: Session, wave_id: str, *, actor: str) -> Wave:
    """Move the files back into the candidate; the wave is `ready` again.

    Raises:
        NotFound: `wave.unknown`.
        Conflict: `wave.not_promoted`; `wave.open`, another wave of the channel is under way;
            `wave.meets`, one of another channel has a release of this one.
    """
    wave = run.hold(session, wave_id)
    if wave.state != WaveState.PROMOTED:
        raise Conflict(f"{wave_id} is {wave.state}, not promoted.", code="wave.not_promoted")
    run.demand_apart(session, wave.channel, [(one.project, one.version) for one in wave.members])
    promotions.undo_set(session, wave.promotions, actor=actor)
    wave.promotions, wave.state, wave.ended_at = [], WaveState.READY, None
    record(session, "wave.undo", wave=wave.id, channel=wave.channel, actor=actor)
    return wave
