"""Filling a farm's database quickly: the rows and journal entries that so many uploads would have made.

Files that are only listed need no bytes; those that are asked for are put into the blob store first.
"""

from __future__ import annotations

import hashlib
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


def listed(name: str, count: int, metadata_sha256: str) -> tuple[str, list[SeedFile]]:
    """A project whose files are listed and nowhere; its digests are as incompressible as real ones."""
    stem = name.replace("-", "_")
    files = [
        SeedFile(filename, version, hashlib.sha256(filename.encode()).hexdigest(), 50_000, metadata_sha256)
        for number in range(count)
        for version in (f"1.{number}",)
        for filename in (f"{stem}-{version}-py3-none-any.whl",)
    ]
    return name, files


def many(count: int, metadata_sha256: str) -> Iterator[tuple[str, list[SeedFile]]]:
    """So many projects of one file each, with names like those of a company."""
    for number in range(count):
        yield listed(f"acme-{hashlib.sha256(str(number).encode()).hexdigest()[:8]}-part", 1, metadata_sha256)
