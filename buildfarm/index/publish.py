"""Publishing a build in two steps: attest every file, then make the file set visible at once.

Each step is a transaction that may be repeated: a retry finds the same artifacts, the same answer of
the signer and the same bundle. Whatever dies in between, clients see all files of the set or none. What is
built of a pull request takes the second step alone, into its stage.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy.orm import Session

from buildfarm import clock
from buildfarm.config import Settings
from buildfarm.db.engine import Database
from buildfarm.errors import FarmError, Forbidden, InvalidInput
from buildfarm.farm import builds, claims, sdists
from buildfarm.farm.model import Artifact, Build, Task
from buildfarm.farm.rules import BUILD, State, advance
from buildfarm.index import (
    agreement,
    channels,
    devbuilds,
    names,
    namespaces,
    rebuilds,
    shadows,
    stages,
    status,
    supplements,
)
from buildfarm.index.admission import demand_verified
from buildfarm.index.attesting import Attester, attestation_of
from buildfarm.index.files import demand_free, release_of
from buildfarm.index.model import Attestation, File, Project, Release
from buildfarm.index.provenance import build_facts
from buildfarm.journal.record import record
from buildfarm.mirror.upstream import Upstream
from buildfarm.sources.model import Source
from buildfarm.storage.blobs import Blobs
from buildfarm.trust import root
from buildfarm.trust.client import SignerClient
from buildfarm.wheels.facts import Expectation, FileFacts
from buildfarm.wheels.validate import validate_in_sandbox

#: Names the actor of what the farm does by itself.
FARM = "farm"


@dataclass(frozen=True)
class Publisher:
    """Publishes builds; made by the worker that runs beside the signer."""

    database: Database
    blobs: Blobs
    signer: SignerClient
    upstream: Upstream
    settings: Settings

    def publish(self, build_id: str, task: tuple[str, int], beat: Callable[[], None]) -> int:
        """Publish a built build under the claim `task` = (id, attempt); returns the journal serial.

        `beat` renews the claim between long steps.

        Raises:
            FarmError: with the sentence for the person; the build is not published.
        """
        artifacts = self._artifacts(build_id)
        files: dict[str, FileFacts] = {}
        for artifact in artifacts:
            files[artifact.filename] = self._validated(artifact)
            beat()
        if not self._check_release(build_id, files):
            # One file gets one statement, and a release may have the same bytes under the same name.
            return self._make_visible(build_id, artifacts, files, task)
        for artifact in artifacts:
            self._attest(artifact, files[artifact.filename])
            beat()
        self._prove(artifacts)
        self._demand_verified(artifacts)
        return self._make_visible(build_id, artifacts, files, task)

    def _artifacts(self, build_id: str) -> list[Artifact]:
        with self.database.read() as session:
            chosen = list(builds.artifacts(session, build_id).values())
        if not chosen:
            raise InvalidInput("The build made no file.", code="publish.nothing")
        return chosen

    def _validated(self, artifact: Artifact) -> FileFacts:
        expectation = Expectation(
            filename=artifact.filename,
            project=None,
            version=None,
            max_bytes=self.settings.limits.upload_bytes,
            origin="build",
            waived=frozenset(self.settings.validation.waived),
        )
        return validate_in_sandbox(self.blobs.path(artifact.sha256), expectation)

    def _check_release(self, build_id: str, files: dict[str, FileFacts]) -> bool:
        """Refuse what may not be shown; whether it is to be attested, which files of a stage are not."""
        releases = {(file.project, file.version) for file in files.values()}
        if len(releases) != 1:
            listed = ", ".join(f"{name} {version}" for name, version in sorted(releases))
            raise InvalidInput(f"One build makes one release, this one made {listed}.", code="publish.mixed")
        (project, _version), file = releases.pop(), next(iter(files.values()))
        with self.database.read() as session:
            build = session.get_one(Build, build_id)
            source = session.get_one(Source, build.source_id)
            if source.scm == sdists.SCM:
                supplements.demand_fitting(session, build, files)
                return True
            rebuilds.demand_fitting(session, build, files)
            known = session.get(Project, project)
            status.demand_open(known)
        if build.pull_request:
            stages.demand_granted(source, project)
            return False
        devbuilds.demand_local(build, files)
        if project not in source.projects:
            self._first_claim(source, project, file.display_name, is_local=known is not None)
        with self.database.read() as session:
            for name, facts in files.items():
                demand_free(session.get(File, name), facts.sha256)
        return True

    def _first_claim(self, source: Source, project: str, display_name: str, *, is_local: bool) -> None:
        hint = f"buildfarm source grant {source.name} {project}"
        if is_local or self.upstream.rows(project) is not None:
            where = "here, published by another source" if is_local else "on the upstream index"
            raise Forbidden(
                f"The source {source.name} may not publish {project}: the name exists {where}.",
                code="project.not_granted",
                hint=f"If it is yours: {hint}",
            )
        with self.database.begin() as session:
            grants = namespaces.covering(session, project)
            namespaces.demand_owner(project, session.get(Project, project), grants, {f"source:{source.name}"})
            names.make_local(session, [display_name], session.get_one(Source, source.id), actor=FARM)

    def _attest(self, artifact: Artifact, file: FileFacts) -> None:
        with self.database.read() as session:
            if attestation_of(session, artifact):
                return
            facts = build_facts(session, artifact, file.project, file.version, self.settings)
        self._attester.attest(artifact, facts)

    def _prove(self, artifacts: list[Artifact]) -> None:
        self._attester.prove(lambda session: [_attestation(session, one) for one in artifacts])

    @property
    def _attester(self) -> Attester:
        return Attester(self.database, self.blobs, self.signer)

    def _demand_verified(self, artifacts: list[Artifact]) -> None:
        """Check what is about to be shown as a stranger would: clients must not be the first to find out."""
        trusted = root.load(self.signer.health()["documents"][root.TRUSTED_ROOT].encode())
        with self.database.read() as session:
            proofs = [_attestation(session, artifact).bundle_sha256 or "" for artifact in artifacts]
        for artifact, proof in zip(artifacts, proofs, strict=True):
            bundle = self.blobs.read(proof)
            demand_verified(bundle, artifact.sha256, artifact.filename, trusted, self.settings.public_url)

    def _make_visible(
        self, build_id: str, artifacts: list[Artifact], files: dict[str, FileFacts], task: tuple[str, int]
    ) -> int:
        metadata = {name: self.blobs.put_bytes(file.metadata) for name, file in files.items()}
        with self.database.begin() as session:
            claims.finish(session, Task, *task, State.SUCCEEDED)
            build = builds.hold(session, build_id)
            if build.pull_request:
                days = self.settings.index.pull_request_stage_days
                stages.add(session, build, artifacts, files, metadata, days=days)
            elif session.get_one(Source, build.source_id).scm == sdists.SCM:
                proofs = {one.filename: _attestation(session, one) for one in artifacts}
                supplements.add(session, build, files, metadata, proofs)
            else:
                self._add_files(session, build, artifacts, files, metadata)
            build.state = advance(BUILD, State(build.state), State.PUBLISHED)
            build.finished_at = clock.now()
        return int(session.info["serial"])

    def _add_files(
        self,
        session: Session,
        build: Build,
        artifacts: list[Artifact],
        files: dict[str, FileFacts],
        metadata: dict[str, str],
    ) -> None:
        # Of two builds of one new release the later one must see the earlier one's files.
        channels.hold_of_builds(session, build.channel)
        facts = next(iter(files.values()))
        release = release_of(session, facts)
        rebuilds.demand_fitting(session, build, files)
        listed, rows = [], []
        for artifact in artifacts:
            file = self._file_row(session, release, artifact, files[artifact.filename], metadata, build)
            listed.append(
                {"filename": file.filename, "sha256": file.sha256, "bundle": file.bundle_sha256 or ""}
            )
            shadows.note(session, file, files[artifact.filename])
            rows.append(file)
        agreement.note(session, self.blobs, rows)
        build.project, build.version = release.project, release.version
        record(
            session,
            "publish",
            project=release.project,
            version=release.version,
            channel=build.channel,
            build=build.id,
            files=listed,
            actor=FARM,
            **rebuilds.told(build),
            on_serial=channels.entering(session, build.channel, list(files)),
        )

    def _file_row(
        self,
        session: Session,
        release: Release,
        artifact: Artifact,
        facts: FileFacts,
        metadata: dict[str, str],
        build: Build,
    ) -> File:
        known = session.get(File, artifact.filename)
        if known:
            demand_free(known, facts.sha256)
            return known
        proof = _attestation(session, artifact)
        file = File(
            filename=artifact.filename,
            release_id=release.id,
            sha256=facts.sha256,
            size=facts.size,
            requires_python=facts.requires_python,
            metadata_sha256=metadata[artifact.filename],
            uploaded_at=clock.now(),
            build_id=build.id,
            job_id=artifact.job_id,
            attempt=artifact.attempt,
            bundle_sha256=proof.bundle_sha256,
            provenance_sha256=proof.provenance_sha256,
        )
        file.note_accepted(facts)
        session.add(file)
        session.flush()
        return file


def _attestation(session: Session, artifact: Artifact) -> Attestation:
    found = attestation_of(session, artifact)
    if found is None:
        raise FarmError(f"{artifact.filename} has no statement.", code="publish.unattested")
    return found
