"""Supplements: wheels that the farm built from sdists of upstream, beside what upstream has.

They carry the farm's own provenance and belong to the mirror: the name stays upstream's, and none of
upstream's files is hidden by them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version
from sqlalchemy import select
from sqlalchemy.orm import Session

from buildfarm import clock
from buildfarm.db.engine import Database
from buildfarm.errors import Conflict, Forbidden, InvalidInput, NotFound
from buildfarm.farm import sdists
from buildfarm.farm.model import Build
from buildfarm.index import names
from buildfarm.index.guarded import Guard, mirror_of
from buildfarm.index.model import Attestation
from buildfarm.index.spelling import normal_name
from buildfarm.journal.record import record
from buildfarm.mirror.model import Supplement, UpstreamPage
from buildfarm.mirror.page import PageContent
from buildfarm.mirror.upstream import Upstream
from buildfarm.wheels.facts import FileFacts

#: A rule that is about installing an sdist, not about building a wheel of it here.
SDIST_RULES = frozenset({"file-type"})


@dataclass(frozen=True)
class Supplementer:
    """Starts builds of what upstream has only as source; may be shared by threads."""

    database: Database
    upstream: Upstream
    guard: Guard

    def request(self, channel: str, project: str, version: str, *, actor: str) -> str:
        """Have wheels of an upstream release built; the id of the build, which may be under way already.

        Raises:
            InvalidInput: `project.name`, `version.invalid`.
            Conflict: `supplement.ours`, we make this project ourselves; `channel.no_mirror`.
            Forbidden: `policy.<rule>`, the channel's policy refuses the sdist.
            NotFound: `mirror.unknown`, `sdist.none`, `channel.unknown`.
            ExternalFailure: `mirror.unreachable`.
        """
        name, exact = normal_name(project), _version(version)
        with self.database.read() as session:
            mirror = mirror_of(session, channel)
            if names.is_ours(session, name):
                raise Conflict(
                    f"{name} is ours; start a build of its source instead.", code="supplement.ours"
                )
        page = self.upstream.rows(name)
        if page is None:
            raise NotFound(f"No upstream index knows {name}.", code="mirror.unknown")
        sdist = sdists.sdist_of(page, exact)
        refusal = self.guard.sift(mirror, page).refused.get(sdist.file.filename)
        if refusal and refusal.rule not in SDIST_RULES:
            raise Forbidden(refusal.sentence, code=f"policy.{refusal.rule}")
        with self.database.begin() as session:
            return sdists.start(session, sdist, channel=mirror, actor=actor).id


def demand_fitting(session: Session, build: Build, files: Mapping[str, FileFacts]) -> None:
    """Refuse what is no wheel of the release that the build was started for, or not free to be named so.

    Raises:
        InvalidInput: `publish.other_release`.
        Conflict: `file.exists`, the name has other bytes; `supplement.ours`, the project became ours;
            `supplement.upstream_has`, upstream made the same wheel meanwhile.
    """
    for filename, facts in files.items():
        same = canonicalize_name(build.project or "") == facts.project
        if not same or Version(facts.version) != Version(build.version or ""):
            raise InvalidInput(
                f"{filename} is no file of {build.project} {build.version}.", code="publish.other_release"
            )
        if _upstream_has(session, facts.project, filename):
            raise Conflict(f"Upstream itself has {filename} by now.", code="supplement.upstream_has")
        known = session.get(Supplement, filename)
        if known and known.sha256 != facts.sha256:
            raise Conflict(f"File already exists: {filename} has other bytes.", code="file.exists")
        if names.is_ours(session, facts.project):
            raise Conflict(f"{facts.project} has become ours meanwhile.", code="supplement.ours")


def add(
    session: Session,
    build: Build,
    files: Mapping[str, FileFacts],
    metadata: Mapping[str, str],
    proofs: Mapping[str, Attestation],
) -> None:
    """Put validated and attested wheels beside upstream's files, in the caller's transaction."""
    for filename, facts in files.items():
        if session.get(Supplement, filename):
            continue
        proof = proofs[filename]
        row = Supplement(
            filename=filename,
            project=facts.project,
            version=facts.version,
            sha256=facts.sha256,
            size=facts.size,
            requires_python=facts.requires_python,
            metadata_sha256=metadata[filename],
            bundle_sha256=proof.bundle_sha256,
            provenance_sha256=proof.provenance_sha256,
            uploaded_at=clock.now(),
            build_id=build.id,
        )
        row.note_accepted(facts)
        session.add(row)
    record(
        session,
        "supplement",
        project=canonicalize_name(build.project or ""),
        version=build.version,
        channel=build.channel,
        build=build.id,
        files=[{"filename": name, "sha256": facts.sha256} for name, facts in files.items()],
        actor="farm",
    )


def of_project(session: Session, project: str) -> Sequence[Supplement]:
    """The supplements of a project, by file name."""
    of_it = select(Supplement).where(Supplement.project == project)
    return session.scalars(of_it.order_by(Supplement.filename)).all()


def digests(supplements: Iterable[Supplement]) -> Iterator[tuple[str, str]]:
    """The name of every file, and of what stands beside it, with its SHA-256 hex."""
    for one in supplements:
        yield one.filename, one.sha256
        beside = {
            ".metadata": one.metadata_sha256,
            ".provenance": one.provenance_sha256,
            ".sigstore.json": one.bundle_sha256,
        }
        yield from ((one.filename + suffix, digest) for suffix, digest in beside.items() if digest)


def _upstream_has(session: Session, project: str, filename: str) -> bool:
    page = session.get(UpstreamPage, project)
    return page is not None and filename in PageContent.from_json(page.content).files


def _version(text: str) -> Version:
    try:
        return Version(text)
    except InvalidVersion as err:
        raise InvalidInput(f"{text[:100]!r} is no version (PEP 440).", code="version.invalid") from err
