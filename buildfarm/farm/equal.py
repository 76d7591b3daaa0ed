"""Equal input is answered without a build: a job whose input was built before gets the files of that time.

The input is all that decides what a job makes. What is known when it is planned is one digest. What is read
of the index comes out while it runs, so every page that the index shows to an attempt is recorded by its
digest: the earlier job stands for the new one while the index would show the same pages, and still serves
what it served. Equal is the whole page, not the file that was chosen: which one a resolver takes is its
own affair.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Protocol, TypeVar

from sqlalchemy import select
from sqlalchemy.orm import Session

from buildfarm import clock, sandbox
from buildfarm.db.engine import Database
from buildfarm.errors import FarmError
from buildfarm.farm import pulls
from buildfarm.farm.model import Artifact, Build, Dependency, IndexAnswer, Job
from buildfarm.farm.rules import State
from buildfarm.sources.model import Source
from buildfarm.storage.blobs import Blobs

_Row = TypeVar("_Row", IndexAnswer, Dependency, Artifact)
#: Earlier jobs of one snapshot that are looked at, the newest first.
_CANDIDATES = 100


class Index(Protocol):
    """The index as builds of a source see it now."""

    def digest(self, ecosystem: str, asked: str, granted: Sequence[str]) -> str:
        """The SHA-256 of what it would show; empty when there is nothing of that name."""

    def takes_back(self, filenames: Iterable[str]) -> bool:
        """Whether it would refuse one of these files that it served."""


@dataclass(frozen=True)
class Earlier:
    """Jobs that stand for others now: their ids by the digest of their input."""

    jobs: Mapping[str, str] = field(default_factory=dict)

    def answer(self, job: Job) -> None:
        """End a planned job well if its input was built before."""
        if ran := self.jobs.get(job.input_sha256 or ""):
            job.answered_by_id, job.state, job.finished_at = ran, State.SUCCEEDED, clock.now()


def input_digest(spec: Mapping[str, Any], *, target: str, tier: str, recipe_sha256: str) -> str:
    """The SHA-256 over all that decides a job's output but the index.

    That is its spec, which names the source and the images by digest, the recipe, and the farm's own code
    that runs the attempt.
    """
    told = {"spec": spec, "target": target, "tier": tier, "recipe": recipe_sha256, "tools": _tools()}
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def earlier(database: Database, blobs: Blobs, index: Index, build: Build, snapshot_sha256: str) -> Earlier:
    """What was built before of the snapshot, by its source and in its tier, and stands for it now.

    The index is asked as a build would ask it, upstream included where a page is old; so this is not called
    within a transaction. What cannot be asked does not stand.
    """
    if build.fresh:
        return Earlier()
    with database.read() as session:
        source = session.get_one(Source, build.source_id)
        candidates = _candidates(session, build, source, snapshot_sha256)
        shown = _of_attempts(session, IndexAnswer, candidates)
        served = _of_attempts(session, Dependency, candidates)
        made = _of_attempts(session, Artifact, candidates)
    now = _Now(index, pulls.reads_of(build, source))
    found: dict[str, str] = {}
    for job in candidates:
        key = job.input_sha256 or ""
        are_here = made[job.id] and all(blobs.has(file.sha256) for file in made[job.id])
        if key not in found and are_here and now.shows(shown[job.id]) and not now.takes_back(served[job.id]):
            found[key] = job.id
    return Earlier(found)


@dataclass
class _Now:
    """The index now; each page is asked for once."""

    index: Index
    granted: Sequence[str]
    digests: dict[tuple[str, str], str | None] = field(default_factory=dict)

    def shows(self, answers: Iterable[IndexAnswer]) -> bool:
        return all(one.sha256 is not None and self._digest(one) == one.sha256 for one in answers)

    def takes_back(self, files: Sequence[Dependency]) -> bool:
        return bool(files) and self.index.takes_back(file.filename for file in files)

    def _digest(self, one: IndexAnswer) -> str | None:
        key = (one.ecosystem, one.asked)
        if key not in self.digests:
            try:
                self.digests[key] = self.index.digest(*key, self.granted)
            except FarmError:
                self.digests[key] = None
        return self.digests[key]


def _candidates(session: Session, build: Build, source: Source, snapshot_sha256: str) -> list[Job]:
    """Nothing that was made for a pull request stands for anything else."""
    query = (
        select(Job)
        .join(Build, Build.id == Job.build_id)
        .where(
            Build.source_id == source.id,
            Build.snapshot_sha256 == snapshot_sha256,
            Build.compares_id.is_(None),
            Build.rebuilds_id.is_(None),
            Build.pull_request_id.is_not_distinct_from(build.pull_request_id),
            Job.state == State.SUCCEEDED,
            Job.answered_by_id.is_(None),
            Job.input_sha256.is_not(None),
        )
        .order_by(Job.id.desc())
        .limit(_CANDIDATES)
    )
    tier = pulls.tier_of(build, source)
    return [job for job in session.scalars(query) if job.queue.split(".")[2] == tier]


def _of_attempts(session: Session, table: type[_Row], jobs: Iterable[Job]) -> Mapping[str, Sequence[_Row]]:
    """The rows of the jobs' last attempts, by the job's id."""
    found: defaultdict[str, list[_Row]] = defaultdict(list)
    last = (table.job_id == Job.id) & (table.attempt == Job.attempt)
    for row in session.scalars(select(table).join(Job, last).where(Job.id.in_([job.id for job in jobs]))):
        found[row.job_id].append(row)
    return found


@cache
def _tools() -> str:
    digest = hashlib.sha256()
    for path in sorted(Path(sandbox.__file__).parent.rglob("*.py")):
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()
