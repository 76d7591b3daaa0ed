"""The farm's own projects as a wave sees them: what their newest releases were built with and need."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from itertools import chain

from packaging.metadata import parse_email
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version
from sqlalchemy import select
from sqlalchemy.orm import Session, joinedload

from buildfarm.farm.model import Dependency, Job
from buildfarm.farm.rules import State
from buildfarm.index import channels
from buildfarm.index.model import File, Release
from buildfarm.storage.blobs import Blobs


@dataclass(frozen=True)
class OldJob:
    """A job that made files of a release, and how long it took."""

    target: str
    build_image: str
    seconds: float


@dataclass(frozen=True)
class Own:
    """The newest release of a project in a channel.

    `build_id` made its newest files, None where none of them was built here. `read` are the projects that
    its attempts were served, with their versions; `requires` those that its metadata names.
    """

    project: str
    version: str
    build_id: str | None
    filenames: tuple[str, ...]
    jobs: tuple[OldJob, ...]
    read: dict[str, frozenset[str]]
    requires: frozenset[str]

    @property
    def native(self) -> list[str]:
        """Its wheels that are for a platform."""
        return [name for name in self.filenames if name.endswith(".whl") and not name.endswith("-any.whl")]

    @property
    def needs(self) -> frozenset[str]:
        """Every project it was built with or runs with."""
        return self.requires | self.read.keys()


def current(session: Session, blobs: Blobs, channel: str) -> dict[str, Own]:
    """The newest release of every project in the channel, by project; yanked ones are passed over."""
    files = _newest(session, channel)
    # Ids of builds sort by time: the last one made the newest files.
    built = {release.id: max(file.build_id or "" for file in of_it) for release, of_it in files.items()}
    jobs = _jobs(session, built.values())
    read = _read(session, chain.from_iterable(jobs.values()))
    return {
        release.project: Own(
            project=release.project,
            version=release.version,
            build_id=built[release.id] or None,
            filenames=tuple(sorted(file.filename for file in of_it)),
            jobs=tuple(map(_old, jobs[built[release.id]])),
            read=_versions(
                (one for job in jobs[built[release.id]] for one in read[job.id]), besides=release.project
            ),
            requires=_requires(blobs, of_it) - {release.project},
        )
        for release, of_it in files.items()
    }


def _newest(session: Session, channel: str) -> dict[Release, list[File]]:
    found: dict[str, tuple[Release, list[File]]] = {}
    for release, files in channels.releases_of(session, channel).items():
        offered = [file for file in files if file.yanked is None]
        other = found.get(release.project)
        if offered and (other is None or _order(release) > _order(other[0])):
            found[release.project] = release, offered
    return dict(found.values())


def _order(release: Release) -> tuple[bool, Version]:
    """As installers choose: a pre-release only where there is nothing else."""
    version = Version(release.version)
    return not version.is_prerelease, version


def _jobs(session: Session, build_ids: Iterable[str]) -> defaultdict[str, list[Job]]:
    """The jobs that made the files of each build: its own, or those that answered them."""
    found: defaultdict[str, list[Job]] = defaultdict(list)
    query = select(Job).where(Job.build_id.in_(set(build_ids)), Job.state == State.SUCCEEDED)
    for job in session.scalars(query.options(joinedload(Job.answered_by)).order_by(Job.target)):
        found[job.build_id].append(job.ran)
    return found


def _read(session: Session, jobs: Iterable[Job]) -> defaultdict[str, list[Dependency]]:
    """What each job was served, by its id."""
    found: defaultdict[str, list[Dependency]] = defaultdict(list)
    query = (
        select(Dependency)
        .join(Job, (Dependency.job_id == Job.id) & (Dependency.attempt == Job.attempt))
        .where(Job.id.in_({job.id for job in jobs}), Dependency.ecosystem == "pypi")
    )
    for dependency in session.scalars(query):
        found[dependency.job_id].append(dependency)
    return found


def _old(job: Job) -> OldJob:
    took = job.finished_at - job.started_at if job.finished_at and job.started_at else timedelta()
    return OldJob(job.target, job.spec.get("build_image", ""), took.total_seconds())


def _versions(read: Iterable[Dependency], *, besides: str) -> dict[str, frozenset[str]]:
    versions: defaultdict[str, set[str]] = defaultdict(set)
    for one in read:
        versions[canonicalize_name(one.project)].add(one.version)
    return {project: frozenset(found) for project, found in versions.items() if project != besides}


def _requires(blobs: Blobs, files: Iterable[File]) -> frozenset[str]:
    """What Requires-Dist of the wheels names, whatever the environment; extras are nobody's requirement."""
    lines: set[str] = set()
    for digest in {file.metadata_sha256 for file in files if file.filename.endswith(".whl")}:
        if digest and blobs.has(digest):
            lines.update(parse_email(blobs.read(digest))[0].get("requires_dist", ()))
    return frozenset(name for line in lines if (name := _required(line)))


def _required(line: str) -> str | None:
    try:
        requirement = Requirement(line)
    except InvalidRequirement:
        return None
    if requirement.marker and "extra" in str(requirement.marker):
        return None
    return canonicalize_name(requirement.name)
