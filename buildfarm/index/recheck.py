"""Another look at stored files whose verdict is older than the rules.

What is older is what is left, so a walk can end anywhere and begin anew. A file of ours that today's rules
refuse stays where it is: clients hold it, and a person decides. A mirrored one is passed on no more.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from buildfarm import clock, log
from buildfarm.config import Settings
from buildfarm.db.engine import Database
from buildfarm.errors import ExternalFailure, InvalidInput, NotFound
from buildfarm.index import agreement, shadows
from buildfarm.index.model import File
from buildfarm.journal.record import record
from buildfarm.mirror.model import Supplement, UpstreamFile
from buildfarm.storage.blobs import Blobs
from buildfarm.wheels.facts import Expectation, FileFacts, Origin
from buildfarm.wheels.rules import RULES, RULES_VERSION
from buildfarm.wheels.validate import validate_in_sandbox

Stored = File | Supplement | UpstreamFile
_TABLES: tuple[type[Stored], ...] = (File, Supplement, UpstreamFile)
_BATCH = 100
_log = log.get(__name__)


@dataclass(frozen=True)
class Recheck:
    """Looks at files again; any number at once do no harm."""

    database: Database
    blobs: Blobs
    settings: Settings

    def walk(self) -> Iterator[str]:
        """Judge each file that is due, when the next name is asked for; yields the names."""
        for table in _TABLES:
            after = ""
            while files := self._due(table, after):
                for file in files:
                    self._look(file)
                    yield file.filename
                after = files[-1].filename

    def _due(self, table: type[Stored], after: str) -> list[Stored]:
        due = select(table).where(table.rules_version < RULES_VERSION, table.filename > after)
        if table is File:
            due = due.where(File.withdrawn_at.is_(None))
        elif table is UpstreamFile:
            due = due.where(UpstreamFile.stored_at.is_not(None), UpstreamFile.refused.is_(None))
        with self.database.read() as session:
            return list(session.scalars(due.order_by(table.filename).limit(_BATCH)))

    def _look(self, file: Stored) -> None:
        try:
            verdict = self._verdict(file)
        except NotFound:
            _log.warning("recheck.missing", filename=file.filename, sha256=file.sha256)
            return
        except (ExternalFailure, InvalidInput) as err:
            _log.warning("recheck.not_judged", filename=file.filename, reason=err.message)
            return
        table: type[Stored] = type(file)
        with self.database.begin() as session:
            again = select(table).where(table.filename == file.filename).with_for_update()
            rows: list[Stored] = list(session.scalars(again))
            for row in rows:
                if row.rules_version < RULES_VERSION:  # nobody else was faster
                    _note(session, row, verdict)
                    if isinstance(row, File):
                        agreement.note(session, self.blobs, [row])
                        if isinstance(verdict, FileFacts):
                            shadows.note(session, row, verdict)

    def _verdict(self, file: Stored) -> FileFacts | InvalidInput:
        """What today's rules say of the bytes; their size was judged when they came.

        Raises:
            NotFound: `blob.missing`.
            ExternalFailure: `file.v-01`.
            InvalidInput: of no rule, the check could not begin.
        """
        origin: Origin = "mirror"
        if not isinstance(file, UpstreamFile):
            origin = "upload" if file.build_id is None else "build"
        expectation = Expectation(
            filename=file.filename,
            project=None,
            version=None,
            max_bytes=file.size,
            origin=origin,
            waived=frozenset() if origin == "mirror" else frozenset(self.settings.validation.waived),
            digests={"sha256": file.sha256},
        )
        try:
            return validate_in_sandbox(self.blobs.path(file.sha256), expectation)
        except InvalidInput as err:
            if err.facts.get("rule") not in RULES:
                raise
            return err


def _note(session: Session, row: Stored, verdict: FileFacts | InvalidInput) -> None:
    if isinstance(verdict, FileFacts):
        row.note_accepted(verdict)
        return
    was_refused = row.refused is not None
    row.note_refused(verdict)
    if not was_refused:
        _say(session, row)


def _say(session: Session, row: Stored) -> None:
    """Journal that a file which was taken would not be taken today; mirrored bytes make room."""
    kind = "file.refuse"
    if isinstance(row, UpstreamFile):
        kind, row.evicted_at = "mirror.refuse", clock.now()
    project = row.release.project if isinstance(row, File) else row.project
    _log.error(kind, filename=row.filename, reason=row.refused)
    record(session, kind, project=project, rule=row.refused_by, filename=row.filename, sha256=row.sha256)
