"""Promotion: the files of a release enter the next channel, the same bytes under the same digests.

A name means one digest over all durable channels, so a promotion cannot conflict. It is applied in
one transaction with its journal row; undoing it is a new entry.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sqlalchemy.orm import Session

from buildfarm import clock
from buildfarm.errors import Conflict, InvalidInput, NotFound
from buildfarm.ids import new_id
from buildfarm.index import channels, devbuilds, status
from buildfarm.index.files import get_release
from buildfarm.index.model import File, Project, Promotion, Release
from buildfarm.journal.record import record


def promote(
    session: Session, *, project: str, version: str, from_channel: str, to_channel: str, actor: str
) -> Promotion:
    """Add what `from_channel` holds of a release to `to_channel`; files that are there already stay.

    Raises:
        NotFound: `channel.unknown`, or `release.unknown`: the channel holds nothing of that release.
        InvalidInput: `promotion.downward`, the ladder is climbed upwards.
        Conflict: `promotion.nothing_new`, every file is there already; `promotion.yanked`;
            `promotion.dev_build`; `channel.not_durable`.
        Forbidden: `project.closed`.
    """
    release = get_release(session, project, version)
    name, exact = release.project, release.version
    status.demand_open(session.get(Project, name))
    lower, upper = channels.get(session, from_channel), channels.hold_durable(session, to_channel)
    channels.demand_durable(lower)
    if upper.rank <= lower.rank:
        raise InvalidInput(f"{to_channel} does not come after {from_channel}.", code="promotion.downward")
    files = channels.files_of(session, from_channel, name, exact)
    if not files:
        raise NotFound(f"The channel {from_channel} holds no {name} {exact}.", code="release.unknown")
    _demand_not_yanked(release, files)
    devbuilds.demand_none(session, release, files)
    present = {file.filename for file in channels.files_of(session, to_channel, name, exact)}
    fresh = [file for file in files if file.filename not in present]
    if not fresh:
        raise Conflict(f"{to_channel} holds {name} {exact} already.", code="promotion.nothing_new")
    return _apply(session, release, fresh, from_channel, to_channel, actor)


def promote_set(session: Session, candidate: str, *, actor: str) -> list[Promotion]:
    """Move all files of a candidate into the channel that they are for: one promotion for each release.

    The candidate is empty afterwards. All of it is one transaction, the caller's.

    Raises:
        NotFound: `channel.unknown`.
        Conflict: `promotion.nothing_new`, the candidate is empty; `promotion.yanked`.
        Forbidden: `project.closed`.
    """
    (to_channel,) = channels.hold(session, candidate).parts
    channels.hold_durable(session, to_channel)
    made = []
    for release, files in channels.releases_of(session, candidate).items():
        status.demand_open(session.get(Project, release.project))
        _demand_not_yanked(release, files)
        made.append(_apply(session, release, files, candidate, to_channel, actor, leaves=True))
    if not made:
        raise Conflict(f"{candidate} holds no files.", code="promotion.nothing_new")
    return made


def _demand_not_yanked(release: Release, files: Sequence[File]) -> None:
    if any(file.yanked is not None for file in files):
        raise Conflict(
            f"{release.project} {release.version} is yanked.",
            code="promotion.yanked",
            hint="Release a new version.",
        )


def _apply(
    session: Session,
    release: Release,
    files: Sequence[File],
    from_channel: str,
    to_channel: str,
    actor: str,
    *,
    leaves: bool = False,
) -> Promotion:
    """Add the files to a channel; `leaves`: and take them out of the other one."""
    now = clock.now()
    promotion = Promotion(
        id=new_id("prm"),
        project=release.project,
        version=release.version,
        from_channel=from_channel,
        to_channel=to_channel,
        state="applied",
        actor=actor,
        created_at=now,
        applied_at=now,
        filenames=[file.filename for file in files],
    )
    session.add(promotion)
    changes = [channels.entering(session, to_channel, promotion.filenames)]
    if leaves:
        changes.append(channels.leaving(session, from_channel, promotion.filenames))
    record(
        session,
        "promote",
        project=release.project,
        version=release.version,
        promotion=promotion.id,
        from_channel=from_channel,
        to_channel=to_channel,
        actor=actor,
        files=[{"filename": file.filename, "sha256": file.sha256} for file in files],
        on_serial=_then(changes, promotion),
    )
    return promotion


def undo(session: Session, promotion_id: str, *, actor: str) -> Promotion:
    """Take out of the channel what a promotion brought in; recorded as a promotion of its own.

    Raises:
        NotFound: `promotion.unknown`.
        Conflict: `promotion.undone`, it was taken back already; `promotion.of_set`, it is one of several that
            were made as one.
    """
    promotion = _held(session, promotion_id)
    if channels.get(session, promotion.from_channel).kind == channels.Kind.CANDIDATE:
        raise Conflict(
            f"Promotion {promotion_id} is one of those of {promotion.from_channel}, which are undone as one.",
            code="promotion.of_set",
            hint=f"buildfarm wave undo {promotion.from_channel}",
        )
    return _revert(session, promotion, actor)


def undo_set(session: Session, promotion_ids: Sequence[str], *, actor: str) -> list[Promotion]:
    """Move what `promote_set` moved back into its candidate, in the caller's transaction.

    Raises:
        NotFound: `promotion.unknown`.
        Conflict: `promotion.undone`.
    """
    return [_revert(session, _held(session, one), actor, returns=True) for one in promotion_ids]


def _held(session: Session, promotion_id: str) -> Promotion:
    promotion = session.get(Promotion, promotion_id, with_for_update=True, populate_existing=True)
    if promotion is None:
        raise NotFound(f"There is no promotion {promotion_id}.", code="promotion.unknown")
    return promotion


def _revert(session: Session, promotion: Promotion, actor: str, *, returns: bool = False) -> Promotion:
    """Take the files out again; `returns`: and put them back where they were."""
    promotion_id = promotion.id
    if promotion.state != "applied":
        raise Conflict(f"Promotion {promotion_id} is {promotion.state} already.", code="promotion.undone")
    promotion.state = "undone"
    now = clock.now()
    revert = Promotion(
        id=new_id("prm"),
        project=promotion.project,
        version=promotion.version,
        from_channel=promotion.to_channel,
        to_channel=promotion.from_channel,
        state="revert",
        actor=actor,
        created_at=now,
        applied_at=now,
        filenames=promotion.filenames,
    )
    session.add(revert)
    changes = [channels.leaving(session, promotion.to_channel, promotion.filenames)]
    if returns:
        changes.append(channels.entering(session, promotion.from_channel, promotion.filenames))
    record(
        session,
        "promote.undo",
        project=promotion.project,
        version=promotion.version,
        promotion=revert.id,
        undoes=promotion.id,
        channel=promotion.to_channel,
        files=promotion.filenames,
        actor=actor,
        on_serial=_then(changes, revert),
    )
    return revert


def yank(session: Session, *, project: str, version: str, reason: str, actor: str) -> list[File]:
    """Mark every file of a release as yanked (PEP 592): installed only where it is pinned.

    Raises:
        NotFound: `release.unknown`.
        InvalidInput: `yank.reason`, longer than 500 characters or with line breaks.
    """
    if len(reason) > 500 or not reason.isprintable():
        raise InvalidInput("A reason is one line of at most 500 characters.", code="yank.reason")
    return _mark(session, project, version, reason, "yank", actor)


def unyank(session: Session, *, project: str, version: str, actor: str) -> list[File]:
    """Take the mark away.

    Raises:
        NotFound: `release.unknown`.
    """
    return _mark(session, project, version, None, "unyank", actor)


def _mark(
    session: Session, project: str, version: str, reason: str | None, kind: str, actor: str
) -> list[File]:
    release = get_release(session, project, version)
    for file in release.files:
        file.yanked = reason
    record(session, kind, project=release.project, version=release.version, actor=actor, reason=reason)
    return release.files


def _then(changes: Sequence[Callable[[int], None]], promotion: Promotion) -> Callable[[int], None]:
    def on_serial(serial: int) -> None:
        for change in changes:
            change(serial)
        promotion.serial = serial

    return on_serial
