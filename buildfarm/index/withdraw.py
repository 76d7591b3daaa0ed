"""Withdrawal: files leave every channel for good; a tombstone keeps their names from ever coming back.

The bytes stay in the store, which clients cannot ask by digest. Yanking is the gentler verb: it keeps a
file where it is pinned (PEP 592).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from buildfarm import clock
from buildfarm.errors import Conflict, InvalidInput, NotFound
from buildfarm.index.files import get_release
from buildfarm.index.model import Channel, ChannelEntry, File
from buildfarm.journal.record import record


def withdraw(
    session: Session, *, project: str, version: str, filenames: Sequence[str], reason: str, actor: str
) -> list[File]:
    """Withdraw files of a release; all that are left of it when none is named.

    Raises:
        NotFound: `release.unknown`; `file.unknown`, the release has no such file.
        InvalidInput: `withdraw.reason`, missing or no line of text.
        Conflict: `file.withdrawn`, nothing is left to withdraw.
    """
    if not reason.strip() or len(reason) > 500 or not reason.isprintable():
        raise InvalidInput("A reason is one line of at most 500 characters.", code="withdraw.reason")
    # Every channel at once: a promotion that runs beside this must not carry a file further.
    session.execute(select(Channel).order_by(Channel.name).with_for_update()).all()
    release = get_release(session, project, version)
    files = {file.filename: file for file in release.files}
    for name in filenames:
        if name not in files:
            raise NotFound(
                f"{release.project} {release.version} has no file {name[:200]}.", code="file.unknown"
            )
    chosen = [
        file
        for file in files.values()
        if file.withdrawn_at is None and (not filenames or file.filename in filenames)
    ]
    if not chosen:
        raise Conflict("All of that is withdrawn already.", code="file.withdrawn")
    now = clock.now()
    for file in chosen:
        file.withdrawn_at = now
    record(
        session,
        "withdraw",
        project=release.project,
        version=release.version,
        files=[{"filename": file.filename, "sha256": file.sha256} for file in chosen],
        reason=reason,
        actor=actor,
        on_serial=_leaving([file.filename for file in chosen], session),
    )
    return chosen


def _leaving(filenames: Sequence[str], session: Session) -> Callable[[int], None]:
    def leave(serial: int) -> None:
        live = ChannelEntry.filename.in_(filenames) & ChannelEntry.until.is_(None)
        session.execute(update(ChannelEntry).where(live).values(until=serial))

    return leave
