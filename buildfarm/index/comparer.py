"""The end of a build that compares: every file of the first build against what the second one made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass

from sqlalchemy.orm import Session

from buildfarm import clock
from buildfarm.db.engine import Database
from buildfarm.farm import builds, claims
from buildfarm.farm.model import Artifact, Attempt, Build, Builder, Comparison, Job, Task
from buildfarm.farm.rules import BUILD, State, advance
from buildfarm.journal.record import record
from buildfarm.storage.blobs import Blobs
from buildfarm.wheels.differences import differences

#: Names the actor of what the farm does by itself.
FARM = "farm"


@dataclass(frozen=True)
class Pair:
    """A file of the first build, and the second build's file of that name and target."""

    first: Artifact
    second: Artifact | None

    @property
    def is_equal(self) -> bool:
        """Whether the bytes are the same."""
        return self.second is not None and self.second.sha256 == self.first.sha256


@dataclass(frozen=True)
class Comparer:
    """Compares what was built twice; made by a control worker."""

    database: Database
    blobs: Blobs

    def compare(self, build_id: str, task: tuple[str, int], beat: Callable[[], None]) -> int:
        """Compare under the claim `task` = (id, attempt); returns the journal serial.

        `beat` renews the claim between long steps.

        Raises:
            StaleAttempt: the claim is no longer held.
        """
        with self.database.read() as session:
            pairs = _pairs(session, build_id)
        told = {}
        for pair in pairs:
            told[pair.first.filename] = self._differences(pair)
            beat()
        with self.database.begin() as session:
            claims.finish(session, Task, *task, State.SUCCEEDED)
            build = builds.hold(session, build_id)
            rows = [_row(session, build_id, pair, told[pair.first.filename]) for pair in pairs]
            session.add_all(rows)
            build.state = advance(BUILD, State(build.state), State.COMPARED)
            build.finished_at = clock.now()
            _record(session, build, rows)
        return int(session.info["serial"])

    def _differences(self, pair: Pair) -> list[dict[str, str]]:
        if pair.second is None or pair.is_equal:
            return []
        first, second = self.blobs.path(pair.first.sha256), self.blobs.path(pair.second.sha256)
        return [asdict(one) for one in differences(first, second, pair.first.filename)]


def _pairs(session: Session, build_id: str) -> list[Pair]:
    build = builds.get(session, build_id)
    second = {job.target: job for job in build.jobs if job.state == State.SUCCEEDED}
    pairs = []
    for filename, artifact in builds.artifacts(session, build.compares_id or "").items():
        job = second.get(session.get_one(Job, artifact.job_id).target)
        key = (job.id, job.attempt, filename) if job else None
        pairs.append(Pair(artifact, session.get(Artifact, key) if key else None))
    return pairs


def _row(session: Session, build_id: str, pair: Pair, told: list[dict[str, str]]) -> Comparison:
    first, second = pair.first, pair.second
    return Comparison(
        build_id=build_id,
        filename=first.filename,
        sha256=first.sha256,
        job_id=first.job_id,
        attempt=first.attempt,
        builder=_builder(session, first),
        rebuilt_sha256=second.sha256 if second else None,
        rebuilt_job_id=second.job_id if second else None,
        rebuilt_attempt=second.attempt if second else None,
        rebuilt_builder=_builder(session, second) if second else None,
        is_equal=pair.is_equal,
        differences=told,
        compared_at=clock.now(),
    )


def _builder(session: Session, artifact: Artifact) -> str:
    attempt = session.get_one(Attempt, (artifact.job_id, artifact.attempt))
    return session.get_one(Builder, attempt.builder_id).name


def _record(session: Session, build: Build, rows: list[Comparison]) -> None:
    record(
        session,
        "compare",
        project=build.project,
        build=build.id,
        compares=build.compares_id,
        files=[
            {"filename": row.filename, "sha256": row.sha256, "rebuilt": row.rebuilt_sha256 or ""}
            for row in rows
        ],
        actor=FARM,
    )
