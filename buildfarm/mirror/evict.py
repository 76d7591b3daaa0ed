"""Eviction: what was used longest ago goes first when upstream files take more room than they may.

Upstream files are those of the indexes, crates and Go modules, all in one order.

Two steps, rows before bytes: a file is marked, and its bytes go when it was not used again within a
grace time. The last use is the blob's access time, which every server keeps without being asked (at
least once a day: `relatime`; the first use after the mark always), or what web counted, whichever is later.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime, timedelta

from sqlalchemy import ColumnElement, func, select, update
from sqlalchemy.orm import Session

from buildfarm import clock, log
from buildfarm.db.engine import Database
from buildfarm.mirror.model import RegistryFile, UpstreamFile
from buildfarm.storage.blobs import Blobs

#: How long the bytes of a marked file stay: whoever has found them may still be about to use them.
GRACE = timedelta(minutes=10)
#: What is left after an eviction, of what may be: so that not every new file evicts one.
_LEFT = 0.9
_log = log.get(__name__)
#: Which of these digests something else needs: a file of ours, a build's artifact, a supplement.
InUse = Callable[[Session, Collection[str]], set[str]]
_Kept = UpstreamFile | RegistryFile
_KINDS: tuple[type[_Kept], ...] = (UpstreamFile, RegistryFile)


def mark(database: Database, blobs: Blobs, max_bytes: int, in_use: InUse) -> list[str]:
    """Mark files until the others fit into `max_bytes`; the names of those that were marked."""
    with database.read() as session:
        total = sum(
            session.scalar(select(func.coalesce(func.sum(kind.size), 0)).where(_stays(kind))) or 0
            for kind in _KINDS
        )
        if total <= max_bytes:
            return []
        files = _files(session, _stays)
        needed = in_use(session, {file.sha256 for file in files})
    marked, now = [], clock.now()
    for file in sorted(files, key=lambda one: _last_use(blobs, one)):
        if total <= max_bytes * _LEFT:
            break
        if file.sha256 not in needed:
            blobs.forget_use(file.sha256)
            marked.append(file)
            total -= file.size
    _set(database, marked, evicted_at=now)
    return [file.filename for file in marked]


def mark_project(database: Database, project: str) -> list[str]:
    """Mark everything of a project, and forget what the validator refused of it."""
    about = UpstreamFile.project == project
    with database.begin() as session:
        stored = about & UpstreamFile.stored_at.is_not(None)
        marked = list(session.scalars(select(UpstreamFile.filename).where(stored)))
        session.execute(update(UpstreamFile).where(stored).values(evicted_at=clock.now()))
        session.execute(
            update(UpstreamFile).where(about).values(refused=None, refused_by=None, rules_version=0)
        )
    return marked


def collect(database: Database, blobs: Blobs, in_use: InUse) -> int:
    """Take away the bytes of files that were marked a grace time ago; how many bytes came free."""
    before = clock.now() - GRACE
    with database.read() as session:
        due = _files(session, lambda kind: kind.evicted_at <= before)
        needed = in_use(session, {file.sha256 for file in due})
    used = [file for file in due if file.evicted_at and _last_use(blobs, file) > file.evicted_at]
    _set(database, used, evicted_at=None)
    gone = [file for file in due if file not in used]
    _set(database, gone, evicted_at=None, stored_at=None)
    freed = 0
    for file in gone:
        if file.sha256 not in needed:
            blobs.delete(file.sha256)
            freed += file.size
            _log.info("mirror.evicted", filename=file.filename, bytes=file.size)
    return freed


def _files(session: Session, which: Callable[[type[_Kept]], ColumnElement[bool]]) -> list[_Kept]:
    return [
        *session.scalars(select(UpstreamFile).where(which(UpstreamFile))),
        *session.scalars(select(RegistryFile).where(which(RegistryFile))),
    ]


def _stays(kind: type[_Kept]) -> ColumnElement[bool]:
    return kind.stored_at.is_not(None) & kind.evicted_at.is_(None)


def _set(database: Database, files: Sequence[_Kept], **values: datetime | None) -> None:
    for kind in _KINDS:
        names = [file.filename for file in files if isinstance(file, kind)]
        if names:
            with database.begin() as session:
                session.execute(update(kind).where(kind.filename.in_(names)).values(**values))


def _last_use(blobs: Blobs, file: _Kept) -> datetime:
    if not blobs.has(file.sha256):
        return file.last_used_at
    opened = datetime.fromtimestamp(blobs.path(file.sha256).stat().st_atime, UTC)
    # A time that no clock has reached is the one that the store gave the blob.
    return max(opened, file.last_used_at) if opened <= clock.now() else file.last_used_at
