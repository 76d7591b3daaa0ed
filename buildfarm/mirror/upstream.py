"""The upstream indexes as the rest of the farm sees them: projects, files, metadata beside files.

The first sight of a file name fixes its digest: later pages that say otherwise are refused, not
followed. Bytes are hashed before they are kept and are served only from our own store.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from urllib.parse import urlsplit, urlunsplit

from sqlalchemy.exc import IntegrityError

from buildfarm import clock, config
from buildfarm.config import Settings
from buildfarm.db.engine import Database
from buildfarm.errors import IntegrityFailure, NotFound
from buildfarm.mirror.client import Client, Root
from buildfarm.mirror.model import UpstreamFile
from buildfarm.mirror.page import MirrorFile, MirrorPage
from buildfarm.mirror.pages import Pages
from buildfarm.storage.blobs import Blobs

_METADATA_BYTES = 16 * 2**20
_FILE_BYTES = 8 * 2**30


class Upstream:
    """Everything that comes from the upstream indexes; may be shared by threads.

    Whoever asks has made sure that the name is not ours: a local name is never asked upstream.
    """

    def __init__(self, database: Database, blobs: Blobs, settings: Settings) -> None:
        self._database, self._blobs, self._settings = database, blobs, settings

    @cached_property
    def roots(self) -> tuple[Root, ...]:
        """The indexes, in order."""
        named = self._settings.mirror.upstreams
        return tuple(Root.of(url) for url in named) or (Root.of(config.pip_index_url()),)

    @cached_property
    def pages(self) -> Pages:
        """The project pages."""
        return Pages(self._database, self._client, self.roots, self._settings)

    def rows(self, name: str) -> MirrorPage | None:
        """A project (normalised name), or None when no upstream knows it.

        Raises:
            ExternalFailure: `mirror.unreachable`, and nothing is remembered either.
        """
        return self.pages.page(name)

    def row(self, name: str, filename: str) -> MirrorFile:
        """One file of a project.

        Raises:
            NotFound: `mirror.unknown_file`.
            ExternalFailure: as for `rows`.
        """
        page = self.rows(name)
        if page is None or filename not in page.files:
            raise NotFound(f"No upstream index lists {filename}.", code="mirror.unknown_file")
        return page.files[filename]

    def file(self, name: str, filename: str) -> UpstreamFile:
        """The file's facts; its bytes are in the blob store when this returns.

        Raises:
            NotFound: `mirror.unknown_file`.
            IntegrityFailure: `mirror.digest_changed`, or the bytes are not what the page announced.
            ExternalFailure: `mirror.unreachable`.
        """
        with self._database.read() as session:
            first_sight = session.get(UpstreamFile, filename)
        if first_sight and self._blobs.has(first_sight.sha256):
            return first_sight
        row = self.row(name, filename)
        if row.changed_to:
            raise IntegrityFailure(
                f"Upstream now shows another digest for {filename} than it did first.",
                code="mirror.digest_changed",
            )
        wanted = first_sight.sha256 if first_sight else row.sha256
        sha256, size = self._blobs.put(
            self._download(row.url), sha256=wanted, max_bytes=row.size or _FILE_BYTES
        )
        return first_sight or self._remember(name, row, sha256, size)

    def metadata(self, name: str, filename: str) -> bytes:
        """The core metadata that upstream serves beside a file (PEP 658).

        Raises:
            NotFound, IntegrityFailure, ExternalFailure: as for `file`.
        """
        row = self.row(name, filename)
        if row.metadata_sha256 is None:
            raise NotFound(f"No upstream index serves metadata for {filename}.", code="mirror.unknown_file")
        if not self._blobs.has(row.metadata_sha256):
            parts = urlsplit(row.url)
            url = urlunsplit(parts._replace(path=parts.path + ".metadata", fragment=""))
            self._blobs.put(self._download(url), sha256=row.metadata_sha256, max_bytes=_METADATA_BYTES)
        return self._blobs.read(row.metadata_sha256)

    def origin(self, name: str) -> str:
        """The index that a project's files come from, without the password that it may take."""
        page = self.pages.stored(name)
        return page.upstream if page else self.roots[0].url

    @cached_property
    def _client(self) -> Client:
        return Client(self.roots, self._settings.mirror.timeout_s)

    def _download(self, url: str) -> Iterator[bytes]:
        with self._client.file(url) as (_size, chunks):
            yield from chunks

    def _remember(self, name: str, row: MirrorFile, sha256: str, size: int) -> UpstreamFile:
        now = clock.now()
        fresh = UpstreamFile(
            filename=row.filename, project=name, sha256=sha256, size=size, url=row.url, seen_at=now,
            last_used_at=now,
        )  # fmt: skip
        try:
            with self._database.begin() as session:
                session.add(fresh)
        except IntegrityError:
            with self._database.read() as session:
                return session.get_one(UpstreamFile, row.filename)
        return fresh
