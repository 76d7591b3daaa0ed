"""The end of a build that compares: every file of the first build against what the second one made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass

from packaging.utils import parse_sdist_filename, parse_wheel_filename
from sqlalchemy import select
from sqlalchemy.orm import Session

from buildfarm import clock
from buildfarm.config import Settings
from buildfarm.db.engine import Database
from buildfarm.farm import builds, claims
from buildfarm.farm.model import Artifact, Attempt, Build, Builder, Comparison, Job, Task
from buildfarm.farm.rules import BUILD, State, advance
from buildfarm.index.attesting import Attester, attestation_of
from buildfarm.index.model import Attestation, File
from buildfarm.index.provenance import reproduction_facts
from buildfarm.journal.record import record
from buildfarm.storage.blobs import Blobs
from buildfarm.trust import root
from buildfarm.trust.client import SignerClient
from buildfarm.trust.report import Policy
from buildfarm.trust.verify import verify_reproduction
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
    signer: SignerClient
    settings: Settings

    def compare(self, build_id: str, task: tuple[str, int], beat: Callable[[], None]) -> int:
        """Compare under the claim `task` = (id, attempt); returns the journal serial.

        `beat` renews the claim between long steps.

        Raises:
            StaleAttempt: the claim is no longer held.
            FarmError: the signer is away or refuses.
        """
        with self.database.read() as session:
            pairs = _pairs(session, build_id)
        told = {}
        for pair in pairs:
            told[pair.first.filename] = self._differences(pair)
            beat()
        self._attest([pair for pair in pairs if pair.is_equal], beat)
        with self.database.begin() as session:
            claims.finish(session, Task, *task, State.SUCCEEDED)
            build = builds.hold(session, build_id)
            rows = [_row(session, build_id, pair, told[pair.first.filename]) for pair in pairs]
            session.add_all(rows)
            self._show(session, rows)
            build.state = advance(BUILD, State(build.state), State.COMPARED)
            build.finished_at = clock.now()
            _record(session, build, rows)
        return int(session.info["serial"])

    def _attest(self, pairs: list[Pair], beat: Callable[[], None]) -> None:
        """Have it signed that the same bytes were made twice, of files whose first build has a statement."""
        attester, made = Attester(self.database, self.blobs, self.signer), []
        for first, second in ((pair.first, pair.second) for pair in pairs):
            with self.database.read() as session:
                if second is None or attestation_of(session, first) is None:
                    continue
                project, version = _release_of(first.filename)
                facts = reproduction_facts(session, second, first, project, version, self.settings)
            attester.attest(second, facts)
            made.append(second)
            beat()
        attester.prove(lambda session: [_attestation(session, one) for one in made])
        self._demand_verified(made)

    def _demand_verified(self, made: list[Artifact]) -> None:
        if not made:
            return
        trusted = root.load(self.signer.health()["documents"][root.TRUSTED_ROOT].encode())
        policy = Policy(trusted.homes | {self.settings.public_url})
        with self.database.read() as session:
            proofs = [(one, _attestation(session, one).bundle_sha256 or "") for one in made]
        for one, proof in proofs:
            bundle = self.blobs.read(proof)
            verify_reproduction(bundle, one.sha256, one.filename, trusted, policy).demand()

    def _show(self, session: Session, rows: list[Comparison]) -> None:
        """Put the statements about second builds beside the published files, one a line."""
        for row in rows:
            # Of two comparisons of one file the later one must see the earlier one's statement.
            file = session.get(File, row.filename, with_for_update=True)
            if row.is_equal and file is not None and file.sha256 == row.sha256:
                digests = session.scalars(
                    select(Attestation.bundle_sha256)
                    .where(Attestation.filename == row.filename, Attestation.file_sha256 == row.sha256)
                    .where(Attestation.is_reproduction, Attestation.bundle_sha256.is_not(None))
                    .order_by(Attestation.serial)
                )
                lines = b"".join(self.blobs.read(digest or "") + b"\n" for digest in digests)
                file.reproduced_sha256 = self.blobs.put_bytes(lines) if lines else None

    def _differences(self, pair: Pair) -> list[dict[str, str]]:
        if pair.second is None or pair.is_equal:
            return []
        first, second = self.blobs.path(pair.first.sha256), self.blobs.path(pair.second.sha256)
        return [asdict(one) for one in differences(first, second, pair.first.filename)]


def _attestation(session: Session, artifact: Artifact) -> Attestation:
    return session.get_one(Attestation, (artifact.job_id, artifact.attempt, artifact.filename))


def _release_of(filename: str) -> tuple[str, str]:
    """Project and version of a file that was validated before."""
    if filename.endswith(".whl"):
        project, version, *_ = parse_wheel_filename(filename, validate_order=False)
    else:
        project, version = parse_sdist_filename(filename)
    return project, str(version)


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
