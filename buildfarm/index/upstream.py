"""Pull-through of the upstream indexes: pages for a while, files for ever.

The first sight of a file name fixes its digest: later pages that say otherwise are refused, not
followed. Bytes are hashed before they are kept and are served only from our own store.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

import requests
from sqlalchemy.exc import IntegrityError

from buildfarm import clock, config, log
from buildfarm.config import Settings
from buildfarm.db.engine import Database
from buildfarm.errors import ExternalFailure, IntegrityFailure, NotFound
from buildfarm.index.model import UpstreamFile
from buildfarm.index.upstream_page import ACCEPT, UpstreamRow, parse
from buildfarm.storage.blobs import Blobs

FRESH_S = 600.0
_PAGES = 2_000
_PAGE_BYTES = 64 * 2**20
_METADATA_BYTES = 16 * 2**20
_FILE_BYTES = 8 * 2**30
_CHUNK = 1 << 20


@dataclass(frozen=True)
class _Remembered:
    rows: dict[str, UpstreamRow] | None
    etag: str | None
    at: float
    root: str


class Upstream:
    """The upstream indexes, in order; the first that knows a name is its origin."""

    def __init__(self, database: Database, blobs: Blobs, settings: Settings) -> None:
        self._database, self._blobs, self._settings = database, blobs, settings
        self._pages: dict[str, _Remembered] = {}
        self._lock = threading.Lock()
        self._roots: tuple[str, ...] | None = None
        self._http = requests.Session()
        self._http.headers["User-Agent"] = "buildfarm"

    @property
    def roots(self) -> tuple[str, ...]:
        """Simple API roots without a slash at the end."""
        if self._roots is None:
            named = self._settings.mirror.upstreams
            self._roots = tuple(url.rstrip("/") for url in named) or (config.pip_index_url(),)
        return self._roots

    def rows(self, name: str) -> dict[str, UpstreamRow] | None:
        """The files of a project by name, or None when no upstream knows it.

        Raises:
            ExternalFailure: `mirror.unreachable`, and nothing is remembered either.
        """
        known = self._pages.get(name)
        if known and time.monotonic() - known.at < FRESH_S:
            return known.rows
        try:
            fresh = self._ask(name, known)
        except (requests.RequestException, ExternalFailure) as err:
            if known:
                log.get(__name__).warning("mirror.stale", project=name)
                return known.rows
            raise ExternalFailure(
                f"The upstream index cannot be asked for {name}.",
                code="mirror.unreachable",
                hint="See mirror.upstreams in the settings, and the network of this host.",
            ) from err
        with self._lock:
            if len(self._pages) >= _PAGES:
                self._pages.clear()
            self._pages[name] = fresh
        return fresh.rows

    def row(self, name: str, filename: str) -> UpstreamRow:
        """One file of a project.

        Raises:
            NotFound: `mirror.unknown_file`.
        """
        row = (self.rows(name) or {}).get(filename)
        if row is None:
            raise NotFound(f"No upstream index lists {filename}.", code="mirror.unknown_file")
        return row

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
        if first_sight and row.sha256 not in {None, first_sight.sha256}:
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
        known = self._pages.get(name)
        parts = urlsplit(known.root if known else self.roots[0])
        return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))

    def _ask(self, name: str, known: _Remembered | None) -> _Remembered:
        for root in self.roots:
            headers = {"Accept": ACCEPT}
            if known and known.etag and known.root == root:
                headers["If-None-Match"] = known.etag
            url = f"{root}/{name}/"
            with self._http.get(
                url, headers=headers, timeout=self._settings.mirror.timeout_s, stream=True
            ) as answer:
                if answer.status_code == 304 and known:
                    return _Remembered(known.rows, known.etag, time.monotonic(), root)
                if answer.status_code == 404:
                    continue
                answer.raise_for_status()
                rows = parse(self._body(answer), answer.headers.get("Content-Type", ""), answer.url)
                return _Remembered(rows, answer.headers.get("ETag"), time.monotonic(), root)
        return _Remembered(None, None, time.monotonic(), self.roots[0])

    def _body(self, answer: requests.Response) -> bytes:
        # The time limit of a read does not end an index that drips.
        deadline = time.monotonic() + 2 * self._settings.mirror.timeout_s
        body = bytearray()
        for chunk in answer.iter_content(_CHUNK):
            body += chunk
            if len(body) > _PAGE_BYTES or time.monotonic() > deadline:
                raise ExternalFailure(
                    "The upstream index sends no end of a page.", code="mirror.page_too_large"
                )
        return bytes(body)

    def _download(self, url: str) -> Iterator[bytes]:
        # identity: the digest is of the file, not of a form that a proxy made of it
        headers = {"Accept-Encoding": "identity"}
        try:
            with self._http.get(
                url, headers=headers, timeout=self._settings.mirror.timeout_s, stream=True
            ) as answer:
                answer.raise_for_status()
                yield from answer.iter_content(_CHUNK)
        except requests.RequestException as err:
            raise ExternalFailure(
                "The upstream index does not give the file.", code="mirror.unreachable"
            ) from err

    def _remember(self, name: str, row: UpstreamRow, sha256: str, size: int) -> UpstreamFile:
        fresh = UpstreamFile(
            filename=row.filename, project=name, sha256=sha256, size=size, url=row.url, seen_at=clock.now()
        )
        try:
            with self._database.begin() as session:
                session.add(fresh)
        except IntegrityError:
            with self._database.read() as session:
                return session.get_one(UpstreamFile, row.filename)
        return fresh
