"""The index as it was for one attempt: the files that were served to it, and no other.

A second build of the same source reads this, so that what was released meanwhile does not change it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import select

from buildfarm.db.engine import Database
from buildfarm.errors import IntegrityFailure, NotFound
from buildfarm.farm.model import Dependency
from buildfarm.index.buildview import Served, asked_name, document, entry, local_entry, upstream_entry
from buildfarm.index.model import File
from buildfarm.mirror.upstream import Upstream
from buildfarm.storage.blobs import Blobs


class PinnedView:
    """What `BuildView` would have said, cut down to what one attempt took, of whatever channel."""

    def __init__(
        self, database: Database, blobs: Blobs, upstream: Upstream, *, job_id: str, attempt: int
    ) -> None:
        self._database, self._blobs, self._upstream = database, blobs, upstream
        self._job_id, self._attempt = job_id, attempt

    def page(self, name: str, _granted: Sequence[str]) -> bytes:
        """The project page, JSON (PEP 691), of the files that were served.

        Raises:
            NotFound: `comparison.not_served`, none was.
        """
        normal = asked_name(name)
        return document(normal, [self._entry(normal, row) for row in self._rows(normal)])

    def file(self, name: str, filename: str, _granted: Sequence[str]) -> Served:
        """A file that was served, its bytes in the blob store.

        Raises:
            NotFound: `comparison.not_served`; `comparison.withdrawn`, it was one of ours.
            IntegrityFailure: `comparison.other_bytes`, upstream has others by now.
            ExternalFailure: as the upstream says.
        """
        row = self._row(asked_name(name), filename)
        if not self._blobs.has(row.sha256):
            known = self._upstream.file(row.project, filename)
            if known.sha256 != row.sha256:
                raise IntegrityFailure(
                    f"{filename} has other bytes than it had for the first build.",
                    code="comparison.other_bytes",
                )
        size = self._blobs.path(row.sha256).stat().st_size
        return Served(row.sha256, size, filename, row.project, row.version, row.origin)

    def metadata(self, name: str, filename: str, _granted: Sequence[str]) -> bytes:
        """The metadata of a file that was served.

        Raises:
            NotFound, IntegrityFailure, ExternalFailure: as the upstream says, and as for `file`.
        """
        row = self._row(asked_name(name), filename)
        file = self._ours(row)
        if file is None:
            return self._upstream.metadata(row.project, filename)
        if file.metadata_sha256 is None or not filename.endswith(".whl"):
            raise NotFound("This file has no metadata beside it.", code="file.no_metadata")
        return self._blobs.read(file.metadata_sha256)

    def _entry(self, name: str, row: Dependency) -> dict[str, Any]:
        if file := self._ours(row):
            told = local_entry(name, file)
        else:
            page = self._upstream.pages.stored(name)
            listed = page.files.get(row.filename) if page else None
            told = upstream_entry(name, listed) if listed else entry(name, row.filename, None, None)
        # It was taken then: a yank since must not let the resolver pass it over.
        return told | {"hashes": {"sha256": row.sha256}, "yanked": False}

    def _ours(self, row: Dependency) -> File | None:
        with self._database.read() as session:
            file = session.get(File, row.filename)
        if file is None or file.sha256 != row.sha256:
            return None
        if file.withdrawn_at:
            raise NotFound(f"{row.filename} was withdrawn since.", code="comparison.withdrawn")
        return file

    def _row(self, name: str, filename: str) -> Dependency:
        row = next((row for row in self._rows(name) if row.filename == filename), None)
        if row is None:
            raise NotFound(f"The first build was not served {filename}.", code="comparison.not_served")
        self._ours(row)
        return row

    def _rows(self, name: str) -> Sequence[Dependency]:
        with self._database.read() as session:
            rows = session.scalars(
                select(Dependency)
                .where(Dependency.job_id == self._job_id, Dependency.attempt == self._attempt)
                .where(Dependency.ecosystem == "pypi", Dependency.project == name)
                .order_by(Dependency.filename)
            ).all()
        if not rows:
            raise NotFound(f"The first build was served no file of {name}.", code="comparison.not_served")
        return rows
