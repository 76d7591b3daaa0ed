"""The farm's own projects as a wave sees them: what their newest releases were built with and need.

Columns are asked for, not objects: a channel has thousands of releases.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from itertools import chain
from typing import Any, TypeAlias

from packaging.metadata import parse_email
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version
from sqlalchemy import Row, func, select
from sqlalchemy.orm import Session, aliased

from buildfarm.errors import NotFound
from buildfarm.farm.model import Build, Dependency, Job
from buildfarm.farm.rules import State
from buildfarm.farm.versions import TAGS
from buildfarm.index.model import ChannelEntry, File, Release
from buildfarm.storage.blobs import Blobs

#: A row as a query gave it; its columns have the names of the table's.
_Row: TypeAlias = Row[*tuple[Any, ...]]
#: Ids in one query: databases take some thousands of parameters.
_AT_ONCE = 1000


@dataclass(frozen=True)
class OldJob:
    """A job that made files of a release, and how long it took."""

    target: str
    build_image: str
    seconds: float


@dataclass(frozen=True)
class Own:
    """The newest release of a project in a channel.

    `build_id` published its newest files, None where none of them was built here. `jobs`, `recipe`,
    `built_at` and `read` are of the build that made them last: that one, or a later rebuild that came out
    equal. `read` are the projects that its attempts were served, with their versions; `requires` those that
    the metadata names.
    """

    project: str
    version: str
    released_at: datetime
    requires_python: str | None
    build_id: str | None
    built_at: datetime | None
    recipe: dict[str, Any] | None
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
    """The newest release of every project in the channel, by project; not what is yanked, nor dev builds."""
    releases = _newest(session, channel)
    files = _files(session, channel, releases)
    # Ids of builds sort by time: the last one published the newest files.
    published = {release: max(file.build_id or "" for file in of_it) for release, of_it in files.items()}
    made = _made(session, published.values())
    jobs = _jobs(session, (build.id for build in made.values()))
    read = _read(session, (job.id for job in chain.from_iterable(jobs.values())))
    found = {}
    for release_id, of_it in files.items():
        release, build = releases[release_id], made.get(published[release_id])
        ran = jobs[build.id] if build else []
        found[release.project] = Own(
            project=release.project,
            version=release.version,
            released_at=release.created_at,
            requires_python=next((file.requires_python for file in of_it if file.requires_python), None),
            build_id=published[release_id] or None,
            built_at=build.created_at if build else None,
            recipe=build.recipe if build else None,
            filenames=tuple(file.filename for file in of_it),
            jobs=tuple(map(_old, ran)),
            read=_versions(chain.from_iterable(read[job.id] for job in ran), besides=release.project),
            requires=_requires(blobs, of_it) - {release.project},
        )
    return found


def _newest(session: Session, channel: str) -> dict[str, _Row]:
    """(id, project, version, created_at) of the newest release of each project, by its id."""
    query = (
        select(Release.id, Release.project, Release.version, Release.created_at)
        .join(File, File.release_id == Release.id)
        .join(ChannelEntry, ChannelEntry.filename == File.filename)
        .outerjoin(Build, Build.id == File.build_id)
        .where(ChannelEntry.channel == channel, ChannelEntry.until.is_(None), File.yanked.is_(None))
        .where(Build.id.is_(None) | Build.ref.startswith(TAGS))
        .distinct()
    )
    of_project: defaultdict[str, list[_Row]] = defaultdict(list)
    for release in session.execute(query):
        of_project[release.project].append(release)
    newest = [some[0] if len(some) == 1 else max(some, key=_order) for some in of_project.values()]
    return {release.id: release for release in sorted(newest, key=lambda one: one.project)}


def _order(release: _Row) -> tuple[bool, Version]:
    """As installers choose: a pre-release only where there is nothing else."""
    version = Version(release.version)
    return not version.is_prerelease, version


def _files(session: Session, channel: str, release_ids: Iterable[str]) -> dict[str, list[_Row]]:
    """The files of each release that the channel offers, in the order of their names."""
    found: dict[str, list[_Row]] = {release_id: [] for release_id in release_ids}
    for some in _parts(found):
        query = (
            select(
                *(File.release_id, File.filename, File.build_id, File.metadata_sha256, File.requires_python)
            )
            .join(ChannelEntry, ChannelEntry.filename == File.filename)
            .where(File.release_id.in_(some), File.yanked.is_(None))
            .where(ChannelEntry.channel == channel, ChannelEntry.until.is_(None))
            .order_by(File.filename)
        )
        for file in session.execute(query):
            found[file.release_id].append(file)
    return found


def _made(session: Session, build_ids: Iterable[str]) -> dict[str, _Row]:
    """By each published build the one that made its files last: itself, or a rebuild that came out equal."""
    found: dict[str, _Row] = {}
    columns = (Build.id, Build.rebuilds_id, Build.state, Build.created_at, Build.recipe)
    for some in _parts(build_ids):
        equal = Build.rebuilds_id.in_(some) & (Build.state == State.COMPARED) & Build.compares_id.is_(None)
        for build in session.execute(select(*columns).where(Build.id.in_(some) | equal).order_by(Build.id)):
            again = build.rebuilds_id if build.state == State.COMPARED else None
            found[again or build.id] = build
    return found


def _jobs(session: Session, build_ids: Iterable[str]) -> defaultdict[str, list[_Row]]:
    """The jobs that made the files of each build: its own, or those that answered them."""
    ran = aliased(Job)
    image = ran.spec["build_image"].as_string().label("image")
    found: defaultdict[str, list[_Row]] = defaultdict(list)
    for some in _parts(build_ids):
        query = (
            select(Job.build_id, ran.id, ran.target, ran.started_at, ran.finished_at, image)
            .join(ran, ran.id == func.coalesce(Job.answered_by_id, Job.id))
            .where(Job.build_id.in_(some), Job.state == State.SUCCEEDED)
            .order_by(Job.target)
        )
        for job in session.execute(query):
            found[job.build_id].append(job)
    return found


def _read(session: Session, job_ids: Iterable[str]) -> defaultdict[str, list[_Row]]:
    """The (project, version)s of what each job was served, by its id."""
    found: defaultdict[str, list[_Row]] = defaultdict(list)
    for some in _parts(job_ids):
        query = (
            select(Dependency.job_id, Dependency.project, Dependency.version)
            .join(Job, (Dependency.job_id == Job.id) & (Dependency.attempt == Job.attempt))
            .where(Job.id.in_(some), Dependency.ecosystem == "pypi")
        )
        for dependency in session.execute(query):
            found[dependency.job_id].append(dependency)
    return found


def _parts(ids: Iterable[str]) -> Iterator[list[str]]:
    every = sorted(set(ids))
    return (every[at : at + _AT_ONCE] for at in range(0, len(every), _AT_ONCE))


def _old(job: _Row) -> OldJob:
    took = job.finished_at - job.started_at if job.finished_at and job.started_at else timedelta()
    return OldJob(job.target, job.image or "", took.total_seconds())


def _versions(read: Iterable[_Row], *, besides: str) -> dict[str, frozenset[str]]:
    versions: defaultdict[str, set[str]] = defaultdict(set)
    for project, version in {(one.project, one.version) for one in read}:
        versions[canonicalize_name(project)].add(version)
    return {project: frozenset(found) for project, found in versions.items() if project != besides}


def _requires(blobs: Blobs, files: Iterable[_Row]) -> frozenset[str]:
    """What Requires-Dist of the wheels names, whatever the environment; extras are nobody's requirement."""
    named: set[str] = set()
    for digest in {file.metadata_sha256 for file in files if file.filename.endswith(".whl")} - {None}:
        with suppress(NotFound):
            named |= _named(blobs, digest)
    return frozenset(named)


@lru_cache(maxsize=100_000)
def _named(blobs: Blobs, digest: str) -> frozenset[str]:
    headers, _, _description = blobs.read(digest).partition(b"\n\n")
    lines = parse_email(headers)[0].get("requires_dist", ())
    return frozenset(name for line in lines if (name := _required(line)))


def _required(line: str) -> str | None:
    try:
        requirement = Requirement(line)
    except InvalidRequirement:
        return None
    if requirement.marker and "extra" in str(requirement.marker):
        return None
    return canonicalize_name(requirement.name)
