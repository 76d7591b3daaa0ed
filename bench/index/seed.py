"""Filling a farm quickly: the rows, journal entries and blobs that so many uploads would have made."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from sqlalchemy import insert

from buildfarm import clock
from buildfarm.bootstrap import Farm
from buildfarm.ids import new_id
from buildfarm.index.model import ChannelEntry, File, Project, Release
from buildfarm.journal.record import record
from buildfarm.journal.record import size as journal_size
from buildfarm.storage.blobs import Blobs
from buildfarm.wheels.rules import RULES_VERSION

_BATCH = 2000


@dataclass(frozen=True)
class SeedFile:
    """A wheel of a seeded project; one digest names its bytes, another its metadata."""

    filename: str
    version: str
    sha256: str
    size: int
    metadata_sha256: str


def seed(farm: Farm, channel: str, projects: Iterable[tuple[str, Sequence[SeedFile]]]) -> None:
    """Put new projects, each with its files, into a channel; the page follower then renders them."""
    left = iter(projects)
    while batch := list(islice(left, _BATCH)):
        with farm.database.begin() as session:
            first, now = journal_size(session) + 1, clock.now()
            releases = {
                (name, version): new_id("rel")
                for name, files in batch
                for version in {file.version for file in files}
            }
            session.execute(
                insert(Project),
                [{"name": name, "display_name": name, "local_since": first} for name, _ in batch],
            )
            session.execute(
                insert(Release),
                [
                    {"id": key, "project": name, "version": version, "created_at": now}
                    for (name, version), key in releases.items()
                ],
            )
            session.execute(
                insert(File),
                [
                    {
                        "filename": file.filename,
                        "release_id": releases[name, file.version],
                        "sha256": file.sha256,
                        "size": file.size,
                        "requires_python": ">=3.9",
                        "metadata_sha256": file.metadata_sha256,
                        "uploaded_at": now,
                        "rules_version": RULES_VERSION,  # nobody shall look at them again beside the rows
                    }
                    for name, files in batch
                    for file in files
                ],
            )
            session.execute(
                insert(ChannelEntry),
                [
                    {"channel": channel, "filename": file.filename, "since": first + index}
                    for index, (_, files) in enumerate(batch)
                    for file in files
                ],
            )
            for name, files in batch:
                record(
                    session,
                    "upload",
                    project=name,
                    channel=channel,
                    files=[{"filename": file.filename, "sha256": file.sha256} for file in files],
                    actor="bench",
                )


def small_names(count: int) -> Iterator[str]:
    """So many project names like those of a company."""
    return (f"acme-{hashlib.sha256(str(number).encode()).hexdigest()[:12]}-part" for number in range(count))


def listed(blobs: Blobs, name: str, count: int, metadata_sha256: str) -> tuple[str, list[SeedFile]]:
    """A project of so many releases, each a file that holds no more than its own name."""
    stem, files = name.replace("-", "_"), []
    for number in range(count):
        filename = f"{stem}-1.{number}-py3-none-any.whl"
        body = filename.encode()
        files.append(SeedFile(filename, f"1.{number}", _kept(blobs, body), len(body), metadata_sha256))
    return name, files


def _kept(blobs: Blobs, body: bytes) -> str:
    """Store bytes as the blob store does, but without waiting for the disk: this farm is thrown away."""
    sha256 = hashlib.sha256(body).hexdigest()
    place, moment = blobs.root / sha256[:2] / sha256, int(sha256[:8], 16) >> 1
    place.parent.mkdir(exist_ok=True)
    place.write_bytes(body)
    os.utime(place, (moment, moment))
    return sha256
