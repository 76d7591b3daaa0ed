"""The upstream indexes as the rest of the farm sees them: projects, files, metadata beside files.

The first sight of a file name fixes its digest: later pages that say otherwise are refused, not
followed. Bytes are hashed before they are kept and are served only from our own store.
"""

from __future__ import annotations

import json
from datetime import timedelta
from functools import cached_property
from urllib.parse import urlsplit, urlunsplit

from buildfarm import clock, config
from buildfarm.config import Settings
from buildfarm.db.engine import Database
from buildfarm.errors import ExternalFailure, IntegrityFailure, NotFound
from buildfarm.mirror.client import Client, Root
from buildfarm.mirror.files import Files, Growing
from buildfarm.mirror.model import UpstreamFile, UpstreamProvenance
from buildfarm.mirror.page import MirrorFile, MirrorPage
from buildfarm.mirror.pages import Pages
from buildfarm.mirror.tally import Tally
from buildfarm.storage.blobs import Blobs

PROVENANCE_TYPE = "application/vnd.pypi.integrity.v1+json"
METADATA_BYTES = 16 * 2**20
_PROVENANCE_BYTES = 16 * 2**20


class Upstream:
    """Everything that comes from the upstream indexes; may be shared by threads.

    Whoever asks has made sure that the name is not ours: a local name is never asked upstream.
    """

    def __init__(self, database: Database, blobs: Blobs, settings: Settings) -> None:
        self._database, self._blobs, self._settings = database, blobs, settings

    @cached_property
    def roots(self) -> tuple[Root, ...]:
        """The indexes, in order; none on an isolated site."""
        if self._settings.mirror.isolated:
            return ()
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
            Forbidden: `mirror.refused`, the validator refused it.
            IntegrityFailure: `mirror.digest_changed`, or the bytes are not what the page announced.
            ExternalFailure: `mirror.unreachable`; `file.v-01`, its check crashed or ran out of time.
        """
        return self.files.held(filename) or self.fetch(name, self.row(name, filename)).whole()

    def fetch(self, name: str, row: MirrorFile) -> Growing:
        """A file of a project that is not here, on its way.

        Raises:
            NotFound: `mirror.not_imported`, this site is isolated.
            IntegrityFailure: `mirror.digest_changed`.
        """
        if self._settings.mirror.isolated:
            raise NotFound(
                f"No bundle brought {row.filename} to this isolated site.", code="mirror.not_imported"
            )
        if row.changed_to:
            raise IntegrityFailure(
                f"Upstream now shows another digest for {row.filename} than it did first.",
                code="mirror.digest_changed",
            )
        return self.files.fetch(name, row)

    def metadata(self, name: str, filename: str) -> bytes:
        """A wheel's core metadata.

        Raises:
            NotFound, IntegrityFailure, ExternalFailure: as for `file`.
        """
        return self._blobs.read(self.metadata_digest(name, filename))

    def metadata_digest(self, name: str, filename: str) -> str:
        """The digest of a wheel's core metadata (PEP 658), which is in the blob store when this returns.

        Raises:
            NotFound, IntegrityFailure, ExternalFailure: as for `file`.
        """
        known = self.files.known(filename)
        if known and known.metadata_sha256 and self._blobs.has(known.metadata_sha256):
            return known.metadata_sha256
        row = self.row(name, filename)
        if row.metadata_sha256 is None:
            raise NotFound(f"No upstream index serves metadata for {filename}.", code="mirror.unknown_file")
        if not self._blobs.has(row.metadata_sha256):
            parts = urlsplit(row.url)
            url = urlunsplit(parts._replace(path=parts.path + ".metadata", fragment=""))
            body = self._client.document(url, METADATA_BYTES)
            self._blobs.put([body], sha256=row.metadata_sha256)
        return row.metadata_sha256

    def provenance(self, name: str, filename: str) -> str:
        """The digest of upstream's provenance document (PEP 740), which is in the blob store.

        It may grow, so it is asked for again when it is old; the last one stands while upstream is away.

        Raises:
            NotFound, ExternalFailure: as for `file`.
        """
        with self._database.read() as session:
            kept = session.get(UpstreamProvenance, filename)
        fresh_since = clock.now() - timedelta(seconds=self._settings.mirror.fresh_s)
        is_fresh = self._settings.mirror.isolated or (kept and kept.fetched_at > fresh_since)
        if kept and is_fresh and self._blobs.has(kept.sha256):
            return kept.sha256
        row = self.row(name, filename)
        if row.provenance_url is None:
            raise NotFound(f"No upstream index has provenance of {filename}.", code="mirror.unknown_file")
        try:
            body = self._client.document(row.provenance_url, _PROVENANCE_BYTES, PROVENANCE_TYPE)
            _demand_provenance(body)
        except ExternalFailure:
            if kept and self._blobs.has(kept.sha256):
                return kept.sha256
            raise
        sha256 = self._blobs.put_bytes(body)
        with self._database.begin() as session:
            session.merge(UpstreamProvenance(filename=filename, sha256=sha256, fetched_at=clock.now()))
        return sha256

    def origin(self, name: str) -> str:
        """The index that a project's files come from, without the password that it may take."""
        page = self.pages.stored(name)
        return page.upstream if page else next((root.url for root in self.roots), "")

    @cached_property
    def files(self) -> Files:
        """The files."""
        return Files(self._database, self._blobs, self._client, self.tally, self._settings)

    @cached_property
    def tally(self) -> Tally:
        """What is counted about them."""
        return Tally(self._database)

    @cached_property
    def _client(self) -> Client:
        return Client(self.roots, self._settings.mirror.timeout_s, self.tally)


def _demand_provenance(body: bytes) -> None:
    try:
        document = json.loads(body)
        is_one = document["version"] == 1 and isinstance(document["attestation_bundles"], list)
    except (ValueError, KeyError, TypeError, RecursionError):
        is_one = False
    if not is_one:
        raise ExternalFailure(
            "What the upstream index sends as provenance is none.", code="mirror.provenance_unreadable"
        )
