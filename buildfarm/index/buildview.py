"""What a build may read: our projects in the channels its source is granted, upstream for every other name.

A local name is never asked upstream. Every file given out is noted on the attempt, which is what
provenance lists as build dependencies.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from packaging.utils import (
    InvalidName,
    InvalidSdistFilename,
    InvalidWheelFilename,
    canonicalize_name,
    parse_sdist_filename,
    parse_wheel_filename,
)
from packaging.version import Version
from sqlalchemy import select
from sqlalchemy.orm import Session

from buildfarm.db.engine import Database
from buildfarm.errors import InvalidInput, NotFound
from buildfarm.farm import pulls
from buildfarm.farm.model import Build, Job
from buildfarm.index import channels, names, render
from buildfarm.index.model import ChannelEntry, File, Release
from buildfarm.index.render import API_VERSION
from buildfarm.journal.record import record
from buildfarm.mirror.page import MirrorFile
from buildfarm.mirror.upstream import Upstream
from buildfarm.sources.model import Source
from buildfarm.storage.blobs import Blobs


@dataclass(frozen=True)
class Served:
    """A file for a build: where its bytes are, and what the record of the attempt says of it."""

    sha256: str
    size: int
    filename: str
    project: str
    version: str
    origin: str


def grant_reading(session: Session, source: Source, granted: Sequence[str], *, actor: str) -> None:
    """Let builds of the source read these channels of ours, in this order, and no others.

    Raises:
        NotFound: `channel.unknown`.
        InvalidInput: `channel.not_durable`, a mirror or a union: upstream is read without a grant.
    """
    for name in granted:
        if channels.get(session, name).kind != channels.Kind.DURABLE:
            raise InvalidInput(
                f"The channel {name} holds no files of its own, so builds cannot be granted it.",
                code="channel.not_durable",
                hint="Builds read upstream's projects as they are; grant the channels of the farm's own.",
            )
    source.reads = list(dict.fromkeys(granted))
    record(session, "source.reads", source=source.id, channels=source.reads, actor=actor)


def readable(session: Session, job: Job) -> list[str]:
    """The channels of ours that a job may read, in order: before those of its source its wave's candidate.

    A candidate is readable for whom the channel is that its files are for. No stage is: what a pull request
    built before is no input of what it builds now.
    """
    build = session.get_one(Build, job.build_id)
    reads = pulls.reads_of(build, session.get_one(Source, job.source_id))
    if build.pull_request:
        return reads
    own = channels.get(session, build.channel)
    is_ours = own.kind == channels.Kind.CANDIDATE and set(own.parts) & set(reads)
    return [own.name, *reads] if is_ours else reads


class BuildView:
    """The index as one build sees it; `granted` are the channels of ours that it may read, in order."""

    def __init__(self, database: Database, blobs: Blobs, upstream: Upstream, public_url: str) -> None:
        self._database, self._blobs, self._upstream, self._public_url = database, blobs, upstream, public_url

    def page(self, name: str, granted: Sequence[str]) -> bytes:
        """The project page, JSON (PEP 691), with URLs that lead back here.

        Raises:
            NotFound: `project.unknown`, neither local nor upstream.
            ExternalFailure: upstream is away.
        """
        normal = asked_name(name)
        files = self._local_files(normal, granted) if self.is_local(normal) else self._upstream_files(normal)
        return document(normal, files)

    def file(self, name: str, filename: str, granted: Sequence[str]) -> Served:
        """A file, its bytes in the blob store.

        Raises:
            NotFound, IntegrityFailure, ExternalFailure: as the upstream says.
        """
        normal = asked_name(name)
        if self.is_local(normal):
            file, channel = self._local_file(normal, filename, granted)
            return Served(
                file.sha256,
                file.size,
                filename,
                normal,
                version_of(filename),
                f"{self._public_url}/{channel}/simple",
            )
        known = self._upstream.file(normal, filename)
        return Served(
            known.sha256, known.size, filename, normal, version_of(filename), self._upstream.origin(normal)
        )

    def metadata(self, name: str, filename: str, granted: Sequence[str]) -> bytes:
        """The metadata of a file.

        Raises:
            NotFound, IntegrityFailure, ExternalFailure: as the upstream says.
        """
        normal = asked_name(name)
        if not self.is_local(normal):
            return self._upstream.metadata(normal, filename)
        file, _channel = self._local_file(normal, filename, granted)
        if file.metadata_sha256 is None or not filename.endswith(".whl"):
            raise NotFound("This file has no metadata beside it.", code="file.no_metadata")
        return self._blobs.read(file.metadata_sha256)

    def is_local(self, name: str) -> bool:
        """Whether the (normalised) name is ours, or reserved."""
        with self._database.read() as session:
            return names.is_ours(session, name)

    def _upstream_files(self, name: str) -> list[dict[str, Any]]:
        page = self._upstream.rows(name)
        if page is None:
            raise NotFound(f"There is no project {name}, here or upstream.", code="project.unknown")
        return [upstream_entry(name, row) for row in page.files.values() if not row.gone_since]

    def _local_files(self, name: str, granted: Sequence[str]) -> list[dict[str, Any]]:
        with self._database.read() as session:
            found = session.scalars(
                select(File)
                .join(Release, Release.id == File.release_id)
                .join(ChannelEntry, ChannelEntry.filename == File.filename)
                .where(
                    Release.project == name, ChannelEntry.channel.in_(granted), ChannelEntry.until.is_(None)
                )
            )
            files = found.unique().all()  # a file may be in several channels
        return [local_entry(name, file) for file in files]

    def _local_file(self, name: str, filename: str, granted: Sequence[str]) -> tuple[File, str]:
        """The file, and the first of the channels that has it."""
        with self._database.read() as session:
            found = {
                channel: file
                for file, channel in session.execute(
                    select(File, ChannelEntry.channel)
                    .join(Release, Release.id == File.release_id)
                    .join(ChannelEntry, ChannelEntry.filename == File.filename)
                    .where(
                        File.filename == filename,
                        Release.project == name,
                        ChannelEntry.channel.in_(granted),
                        ChannelEntry.until.is_(None),
                    )
                )
            }
        for channel in granted:
            if channel in found:
                return found[channel], channel
        raise NotFound(f"Builds of this source may read no {filename}.", code="file.unknown")


def document(name: str, files: Sequence[dict[str, Any]]) -> bytes:
    """A project page, JSON (PEP 691), of entries that `entry` made; the same entries give the same bytes."""
    told = {version_of(file["filename"]) for file in files} - {"unknown"}
    versions = sorted(told, key=lambda one: (Version(one), one))  # 1.0 and 1.0.0 are one version
    page = {"meta": {"api-version": API_VERSION}, "name": name, "files": files, "versions": versions}
    return json.dumps(page, separators=(",", ":")).encode()


def version_of(filename: str) -> str:
    """The version in the name of a wheel or sdist, `unknown` where the name does not follow the rules."""
    try:
        if filename.endswith(".whl"):
            return str(parse_wheel_filename(filename, validate_order=False)[1])
        return str(parse_sdist_filename(filename)[1])
    except (InvalidWheelFilename, InvalidSdistFilename):
        return "unknown"


def asked_name(text: str) -> str:
    """The normalised name: nothing but a name may become part of an upstream URL.

    Raises:
        NotFound: `project.unknown`, it is none.
    """
    try:
        return canonicalize_name(text, validate=True)
    except InvalidName as err:
        raise NotFound("That is no project name.", code="project.unknown") from err


def upstream_entry(name: str, row: MirrorFile) -> dict[str, Any]:
    """A file of an upstream project, as a page for builds lists it."""
    return entry(
        name,
        row.filename,
        row.sha256,
        row.size,
        **{
            "upload-time": row.upload_time,
            "requires-python": row.requires_python,
            "yanked": row.yanked,
            "core-metadata": {"sha256": row.metadata_sha256} if row.metadata_sha256 else False,
        },
    )


def local_entry(name: str, file: File) -> dict[str, Any]:
    """A file of ours, as a page for builds lists it."""
    return entry(
        name,
        file.filename,
        file.sha256,
        file.size,
        **{
            "requires-python": file.requires_python,
            "yanked": file.yanked or file.yanked is not None,
            "core-metadata": render.core_metadata(file.filename, file.metadata_sha256),
        },
    )


def entry(name: str, filename: str, sha256: str | None, size: int | None, **more: Any) -> dict[str, Any]:  # noqa: ANN401
    """A file in a page for builds; its URL leads back to the view that lists it."""
    told: dict[str, Any] = {
        "filename": filename,
        "url": f"../../files/{name}/{quote(filename)}",
        "hashes": {"sha256": sha256} if sha256 else {},
    }
    if size is not None:
        told["size"] = size
    return told | {key: value for key, value in more.items() if value is not None}
