"""The early cut-off: a rebuild that came out as what is there already is not published.

Nothing of what needs it is built for its sake then. Equal are wheels whose members have the same content but
for the build number, and what follows from it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from packaging.utils import parse_wheel_filename
from sqlalchemy import select
from sqlalchemy.orm import Session

from buildfarm import clock
from buildfarm.db.engine import Database
from buildfarm.farm import builds, claims
from buildfarm.farm.model import Task
from buildfarm.farm.rules import BUILD, State, advance
from buildfarm.index import channels
from buildfarm.index.model import File
from buildfarm.journal.record import record
from buildfarm.storage.blobs import Blobs
from buildfarm.waves.model import Wave
from buildfarm.wheels.differences import are_same_but_number

#: What of a wheel's name is the same in its rebuilds: project, version and tags.
_Name = tuple[str, str, str]


@dataclass(frozen=True)
class CutOff:
    """Ends rebuilds of a wave that changed nothing; made by the worker that publishes."""

    database: Database
    blobs: Blobs

    def take(self, build_id: str, task: tuple[str, int]) -> bool:
        """End a built rebuild under the claim `task` = (id, attempt), if it came out equal; whether it did.

        Raises:
            StaleAttempt: the claim is no longer held.
        """
        with self.database.read() as session:
            build = builds.get(session, build_id)
            wave = session.get(Wave, build.wave_id) if build.wave_id else None
            if wave is None or build.rebuilds_id is None:
                return False
            old = _wheels(_current(session, wave, build.rebuilds_id))
            new = _wheels((one.filename, one.sha256) for one in builds.artifacts(session, build_id).values())
        if old.keys() != new.keys() or not all(self._are_equal(old[name], new[name]) for name in old):
            return False
        with self.database.begin() as session:
            claims.finish(session, Task, *task, State.SUCCEEDED)
            build = builds.hold(session, build_id)
            build.state = advance(BUILD, State(build.state), State.COMPARED)
            build.finished_at = clock.now()
            record(
                session, "wave.equal", project=build.project, wave=wave.id, build=build.id,
                rebuilds=build.rebuilds_id, actor="farm",
            )  # fmt: skip
        return True

    def _are_equal(self, old: str, new: str) -> bool:
        return old == new or are_same_but_number(self.blobs.path(old), self.blobs.path(new))


def _current(session: Session, wave: Wave, build_id: str) -> list[tuple[str, str]]:
    """The files of the release that this build published, as the wave's channel has them now."""
    release_id = session.scalars(select(File.release_id).where(File.build_id == build_id)).first()
    return [
        (file.filename, file.sha256)
        for release, files in channels.releases_of(session, wave.channel).items()
        for file in files
        if release.id == release_id
    ]


def _wheels(files: Iterable[tuple[str, str]]) -> dict[_Name, str]:
    """The SHA-256 of each wheel; of those that differ in their number alone, the one installers take."""
    found: dict[_Name, tuple[tuple[int, str] | tuple[()], str]] = {}
    for filename, sha256 in files:
        if filename.endswith(".whl"):
            project, version, number, tags = parse_wheel_filename(filename, validate_order=False)
            name = project, str(version), ".".join(sorted(map(str, tags)))
            if name not in found or found[name][0] < number:
                found[name] = number, sha256
    return {name: sha256 for name, (_number, sha256) in found.items()}
