"""Stages: the index of one pull request, from its first file to its end (docs/adr/0022-pull-requests.md).

A stage is a channel off the ladder that builds of that pull request alone fill. Its files have a name space
of their own: what a stranger calls his file takes no name from a release. They bear no statement of the farm.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import timedelta

from sqlalchemy import delete, or_, select
from sqlalchemy.orm import Session

from buildfarm import clock, log
from buildfarm.db.engine import Database
from buildfarm.errors import Conflict, FarmError, Forbidden
from buildfarm.farm import builds
from buildfarm.farm.model import Artifact, Build
from buildfarm.index.channels import Kind
from buildfarm.index.model import Channel, StageFile
from buildfarm.journal.record import Entry, record
from buildfarm.mirror.model import MirroredPage
from buildfarm.sources.model import PullRequest, Source
from buildfarm.wheels.facts import FileFacts

_FARM = "farm"
_log = log.get(__name__)


def demand_granted(source: Source, project: str) -> None:
    """Refuse a project that the source may not publish: a pull request claims no name.

    Raises:
        Forbidden: `project.not_granted`.
    """
    if project not in source.projects:
        raise Forbidden(
            f"The source {source.name} may not publish {project}, and a pull request claims no name.",
            code="project.not_granted",
            hint=f"If it is yours: buildfarm source grant {source.name} {project}",
        )


def add(
    session: Session,
    build: Build,
    artifacts: Sequence[Artifact],
    files: Mapping[str, FileFacts],
    metadata: Mapping[str, str],
    *,
    days: float,
) -> None:
    """Show the files of a build in the stage of its pull request, instead of those of earlier commits.

    The stage begins with its first file, and ends `days` after its last one.

    Raises:
        Conflict: `pull_request.closed`; `stage.newer`, a later commit is there already; `channel.exists`.
    """
    row = session.get_one(PullRequest, build.pull_request_id, with_for_update=True, populate_existing=True)
    if row.closed_at:
        raise Conflict(f"Pull request {row.number} is over.", code="pull_request.closed")
    if row.stage is None:
        _open(session, row, build.channel)
    facts = next(iter(files.values()))
    _demand_newest(session, build, facts.project)
    _replace(session, build, facts.project, files)
    made = [_file(build, one, files[one.filename], metadata[one.filename]) for one in artifacts]
    session.add_all(made)
    build.project, build.version = facts.project, facts.version
    row.stage_until = clock.now() + timedelta(days=days)
    _publish(session, build, row, made)


def end_due(database: Database) -> int:
    """End the stages whose time is over, each in a transaction of its own; how many."""
    due = select(PullRequest.id).where(PullRequest.stage_until <= clock.now())
    with database.read() as session:
        over = session.scalars(due).all()
    for pull_request_id in over:
        try:
            with database.begin() as session:
                _end(session, pull_request_id)
        except FarmError as err:  # of one stage, which is no matter of the others
            _log.warning("stage.not_ended", pull_request=pull_request_id, code=err.code)
    return len(over)


def _open(session: Session, row: PullRequest, name: str) -> None:
    if session.get(Channel, name):
        raise Conflict(f"There is a channel {name} already.", code="channel.exists")
    mirrors = select(Channel.name).where(Channel.kind == Kind.MIRROR).order_by(Channel.rank).limit(1)
    parts = [builds.FIRST_CHANNEL, *session.scalars(mirrors)]
    session.add(Channel(name=name, kind=Kind.STAGE, rank=-1, public=False, parts=parts))
    session.flush()
    row.stage = name
    record(
        session, "stage.open", stage=name, source=row.source_id, number=row.number, is_fork=row.is_fork,
        actor=_FARM,
    )  # fmt: skip


def _demand_newest(session: Session, build: Build, project: str) -> None:
    newer = (
        select(Build.number)
        .join(StageFile, StageFile.build_id == Build.id)
        .where(StageFile.stage == build.channel, StageFile.project == project, Build.number > build.number)
        .where(Build.commit != build.commit)
    )
    if number := session.scalar(newer.limit(1)):
        raise Conflict(
            f"Build {number} of a later commit is in the stage {build.channel} already.", code="stage.newer"
        )


def _replace(session: Session, build: Build, project: str, files: Mapping[str, FileFacts]) -> None:
    """Take out what an earlier commit made of the project, and what has one of these names."""
    of_commit = select(Build.id).where(
        Build.pull_request_id == build.pull_request_id, Build.commit == build.commit
    )
    old = or_(
        (StageFile.project == project) & StageFile.build_id.not_in(of_commit), StageFile.filename.in_(files)
    )
    session.execute(delete(StageFile).where(StageFile.stage == build.channel, old))


def _file(build: Build, artifact: Artifact, facts: FileFacts, metadata_sha256: str) -> StageFile:
    return StageFile(
        stage=build.channel,
        filename=artifact.filename,
        project=facts.project,
        version=facts.version,
        summary=facts.summary or None,
        sha256=facts.sha256,
        size=facts.size,
        requires_python=facts.requires_python,
        metadata_sha256=metadata_sha256,
        findings=[asdict(finding) for finding in facts.findings],
        since=0,
        built_at=clock.now(),
        build_id=build.id,
        job_id=artifact.job_id,
    )


def _publish(session: Session, build: Build, row: PullRequest, made: Sequence[StageFile]) -> Entry:
    """What provenance says of a release the journal says of a stage: of which commit, by whose leave."""

    def note(serial: int) -> None:
        for file in made:
            file.since = serial

    approved = next((one.actor for one in row.approvals if one.commit == build.commit), None)
    return record(
        session,
        "stage.publish",
        stage=build.channel,
        # Under `project` it would make the release's pages of every channel stale.
        of_project=build.project,
        of_version=build.version,
        build=build.id,
        commit=build.commit,
        ref=build.ref,
        is_fork=row.is_fork,
        approved_by=approved,
        files=[{"filename": file.filename, "sha256": file.sha256} for file in made],
        actor=_FARM,
        on_serial=note,
    )


def _end(session: Session, pull_request_id: str) -> None:
    row = session.get_one(PullRequest, pull_request_id, with_for_update=True, populate_existing=True)
    if row.stage is None or row.stage_until is None or row.stage_until > clock.now():
        return  # something came in meanwhile
    stage, row.stage, row.stage_until = row.stage, None, None
    session.execute(delete(StageFile).where(StageFile.stage == stage))
    session.execute(delete(MirroredPage).where(MirroredPage.channel == stage))
    session.execute(delete(Channel).where(Channel.name == stage))
    record(session, "stage.end", stage=stage, source=row.source_id, number=row.number, actor=_FARM)
