"""What people see of files: where they are, and what they were built from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from buildfarm.farm.model import Build, Job
from buildfarm.farm.showcompared import ComparisonRow, comparisons_of_files
from buildfarm.index.model import ChannelEntry, File, Release, StageFile
from buildfarm.journal.model import JournalRow
from buildfarm.mirror.model import Supplement
from buildfarm.sources.model import Source
from buildfarm.wheels.facts import Check

#: Live entries of files: file name -> channel -> since when.
Entries = dict[str, dict[str, datetime]]


@dataclass(frozen=True)
class Origin:
    """What a file was built from."""

    source: str
    ref: str
    commit: str | None
    build_id: str
    build_number: int
    job_id: str | None
    target: str | None


@dataclass(frozen=True)
class FileRow:
    """A published file; size in bytes, `yanked` is the reason, `origin` None for an upload.

    `findings` are the rules that the validator reported, `refused` is what today's rules have against it.
    """

    filename: str
    sha256: str
    size: int
    requires_python: str | None
    uploaded_at: datetime
    channels: tuple[str, ...]
    yanked: str | None
    withdrawn_at: datetime | None
    has_provenance: bool
    origin: Origin | None
    refused: str | None
    findings: list[dict[str, str]]
    check: Check | None
    #: What building the same bytes a second time has shown, the newest last.
    comparisons: tuple[ComparisonRow, ...] = ()

    @property
    def reproduced_by(self) -> int:
        """How many builders made the same bytes again."""
        return len({one.rebuilt_builder for one in self.comparisons if one.is_equal})


def files_of_build(session: Session, build_id: str) -> list[FileRow]:
    """The files that a build published, by name; supplements are in the channel of the build.

    What it put into a stage is there until a later commit replaces it or the stage ends.
    """
    files = list(session.scalars(select(File).where(File.build_id == build_id).order_by(File.filename)))
    rows = file_rows(session, files, live_entries(session, (file.filename for file in files)))
    rows += _staged(session, StageFile.build_id == build_id)
    made = select(Supplement, Build.channel).join(Build, Build.id == Supplement.build_id)
    supplements = session.execute(made.where(Build.id == build_id).order_by(Supplement.filename)).all()
    return rows + [_supplement_row(one, channel) for one, channel in supplements]


def files_of_stage(session: Session, stage: str) -> list[FileRow]:
    """The files that a stage has now, by name."""
    return _staged(session, StageFile.stage == stage)


@dataclass(frozen=True)
class Doubt:
    """A file of ours that older rules let in and today's refuse."""

    project: str
    version: str
    filename: str
    refused: str | None


def doubts(session: Session, limit: int = 50) -> list[Doubt]:
    """Such files by name; what was withdrawn is settled."""
    rows = (
        select(Release.project, Release.version, File.filename, File.refused)
        .join(Release, Release.id == File.release_id)
        .where(File.refused.is_not(None), File.withdrawn_at.is_(None))
    )
    return [Doubt(*row) for row in session.execute(rows.order_by(File.filename).limit(limit))]


def live_entries(session: Session, filenames: Iterable[str]) -> Entries:
    """Where these files are now."""
    entries: Entries = defaultdict(dict)
    found = session.execute(
        select(ChannelEntry.filename, ChannelEntry.channel, JournalRow.at)
        .join(JournalRow, JournalRow.serial == ChannelEntry.since)
        .where(ChannelEntry.filename.in_(list(filenames)), ChannelEntry.until.is_(None))
    )
    for filename, channel, at in found:
        entries[filename][channel] = at
    return entries


def file_rows(session: Session, files: Sequence[File], entries: Entries) -> list[FileRow]:
    """The read models of files; `entries` are those of `live_entries`."""
    origins = _origins(session, files)
    compared = comparisons_of_files(session, (file.sha256 for file in files))
    return [
        FileRow(
            filename=file.filename,
            sha256=file.sha256,
            size=file.size,
            requires_python=file.requires_python,
            uploaded_at=file.uploaded_at,
            channels=tuple(
                sorted(entries.get(file.filename, {}), key=lambda channel: entries[file.filename][channel])
            ),
            yanked=file.yanked,
            withdrawn_at=file.withdrawn_at,
            has_provenance=file.provenance_sha256 is not None,
            origin=origins.get(file.filename),
            refused=file.refused,
            findings=file.findings,
            check=file.check,
            comparisons=tuple(compared.get((file.filename, file.sha256), ())),
        )
        for file in files
    ]


def _supplement_row(one: Supplement, channel: str) -> FileRow:
    return FileRow(
        filename=one.filename,
        sha256=one.sha256,
        size=one.size,
        requires_python=one.requires_python,
        uploaded_at=one.uploaded_at,
        channels=(channel,),
        yanked=None,
        withdrawn_at=None,
        has_provenance=one.provenance_sha256 is not None,
        origin=None,
        refused=one.refused,
        findings=one.findings,
        check=one.check,
    )


def _staged(session: Session, where: ColumnElement[bool]) -> list[FileRow]:
    files = session.scalars(select(StageFile).where(where).order_by(StageFile.filename)).all()
    origins = _origins(session, files)
    return [_stage_row(one, origins.get(one.filename)) for one in files]


def _stage_row(one: StageFile, origin: Origin | None) -> FileRow:
    return FileRow(
        filename=one.filename,
        sha256=one.sha256,
        size=one.size,
        requires_python=one.requires_python,
        uploaded_at=one.built_at,
        channels=(one.stage,),
        yanked=None,
        withdrawn_at=None,
        has_provenance=False,
        origin=origin,
        refused=None,
        findings=one.findings,
        check=None,
    )


def _origins(session: Session, files: Sequence[File] | Sequence[StageFile]) -> dict[str, Origin]:
    builds = {
        row.Build.id: row
        for row in session.execute(
            select(Build, Source.name)
            .join(Source, Source.id == Build.source_id)
            .where(Build.id.in_({file.build_id for file in files if file.build_id}))
        )
    }
    targets = dict(
        session.execute(
            select(Job.id, Job.target).where(Job.id.in_({file.job_id for file in files if file.job_id}))
        ).all()
    )
    origins = {}
    for file in files:
        if file.build_id in builds:
            build = builds[file.build_id]
            origins[file.filename] = Origin(
                source=build.name,
                ref=build.Build.ref,
                commit=build.Build.commit,
                build_id=build.Build.id,
                build_number=build.Build.number,
                job_id=file.job_id,
                target=targets.get(file.job_id or ""),
            )
    return origins
