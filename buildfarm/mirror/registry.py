"""A registry that builds read through the farm: its documents, confirmed when they are old, and its files.

A file is fetched once, and the first sight of its name fixes its digest. What an isolated site was not
brought it does not have.
"""

from __future__ import annotations

import fcntl
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property

from buildfarm import clock, log
from buildfarm.config import Settings
from buildfarm.db.engine import Database
from buildfarm.errors import ExternalFailure, Forbidden, IntegrityFailure, NotFound
from buildfarm.journal.record import record
from buildfarm.mirror.client import Client, Missing, Root
from buildfarm.mirror.model import RegistryDocument, RegistryFile
from buildfarm.mirror.tally import Tally
from buildfarm.storage.blobs import Blobs

DOCUMENT_BYTES = 64 * 2**20
FILE_BYTES = 2**30
_log = log.get(__name__)


@dataclass(frozen=True)
class Kind:
    """Which registry: the type of its package URLs, what a person calls it, and the setting that names it."""

    ecosystem: str
    title: str
    setting: str


class Registry:
    """One upstream registry; may be shared by threads.

    Whoever asks has made sure that paths are nothing but what the registry's protocol makes of names.
    """

    def __init__(
        self, kind: Kind, url: str, database: Database, blobs: Blobs, tally: Tally, settings: Settings
    ) -> None:
        self._kind, self._root = kind, Root.of(url)
        self._database, self._blobs, self._tally, self._settings = database, blobs, tally, settings

    def demand_named(self) -> None:
        """Refuse what a farm without such a registry cannot answer.

        Not as a 404: Cargo would say that there is no such crate, and Go ask for the parents of the module.

        Raises:
            Forbidden: `mirror.no_registry`.
        """
        if not self._root.url:
            raise Forbidden(
                f"This farm has no {self._kind.title}; an administrator sets {self._kind.setting}.",
                code="mirror.no_registry",
            )

    def document(self, path: str, *, is_fixed: bool = False) -> str:
        """A text below the registry's root; the last one stands while upstream is away.

        Args:
            path: in the registry.
            is_fixed: it never changes by the registry's protocol, so the first one stands for good.

        Raises:
            Forbidden: `mirror.no_registry`.
            NotFound: `mirror.unknown_file`, the registry has none; `mirror.not_imported`, nor has this site.
            ExternalFailure: `mirror.unreachable`, or `mirror.registry_unreadable`.
        """
        self.demand_named()
        with self._database.read() as session:
            kept = session.get(RegistryDocument, (self._kind.ecosystem, path))
        fresh_since = clock.now() - timedelta(seconds=self._settings.mirror.fresh_s)
        if kept and (is_fixed or self._settings.mirror.isolated or kept.checked_at > fresh_since):
            return kept.content
        self._demand_connected(path)
        try:
            content = self._text(path)
        except Missing as err:
            raise NotFound(f"The {self._kind.title} has no {path}.", code="mirror.unknown_file") from err
        except ExternalFailure:
            if kept:
                return kept.content
            raise
        with self._locked(path), self._database.begin() as session:
            session.merge(
                RegistryDocument(
                    ecosystem=self._kind.ecosystem, path=path, content=content, checked_at=clock.now()
                )
            )
        return content

    def held(self, filename: str) -> RegistryFile | None:
        """A file that is here.

        Raises:
            Forbidden: `mirror.no_registry`.
        """
        self.demand_named()
        known = self._known(filename)
        if known is None or known.stored_at is None or not self._blobs.has(known.sha256):
            return None
        self._tally.used(filename)
        return known

    def file(self, filename: str, url: str, name: str, version: str, sha256: str | None) -> RegistryFile:
        """Fetch a file, unless somebody else did meanwhile.

        Args:
            filename: what the farm calls it, unlike any other file.
            url: where it is; relative to the registry's root when it is a path.
            name: of the crate or module.
            version: as the registry writes it.
            sha256: announced by the registry, None where it announces none.

        Raises:
            NotFound: `mirror.not_imported`.
            IntegrityFailure: `mirror.digest_changed`, another digest than at first sight; `blob.digest`.
            LimitExceeded: `blob.too_large`.
            ExternalFailure: `mirror.unreachable`.
        """
        self._demand_connected(filename)
        with self._locked(filename):
            if held := self.held(filename):
                return held
            known = self._known(filename)
            if known and sha256 not in (None, known.sha256):
                raise _changed(filename)
            found, size = self._stored(filename, url, known, sha256)
            now = clock.now()
            file = RegistryFile(
                filename=filename, ecosystem=self._kind.ecosystem, name=name, version=version, sha256=found,
                size=size, origin=self._root.url, fetched_at=known.fetched_at if known else now,
                last_used_at=now, stored_at=now,
            )  # fmt: skip
            with self._database.begin() as session:
                if known is None:
                    record(session, "mirror.first_sight", filename=filename, sha256=found, url=url)
                session.merge(file)
        _log.info("mirror.fetched", filename=filename, bytes=size)
        return file

    def unreadable(self, path: str) -> ExternalFailure:
        """What to raise about a document that does not follow the registry's protocol."""
        return ExternalFailure(
            f"What the {self._kind.title} sends as {path} does not follow its protocol.",
            code="mirror.registry_unreadable",
        )

    def _stored(
        self, filename: str, url: str, known: RegistryFile | None, sha256: str | None
    ) -> tuple[str, int]:
        wanted = known.sha256 if known else sha256
        where = url if "://" in url else f"{self._root.url}/{url}"
        try:
            with self._client.file(where) as (_size, chunks):
                return self._blobs.put(chunks, sha256=wanted, max_bytes=FILE_BYTES)
        except IntegrityFailure as err:
            if known:
                raise _changed(filename) from err
            raise IntegrityFailure(
                f"The bytes of {filename} are not those that the {self._kind.title} announces.", code=err.code
            ) from err

    def _text(self, path: str) -> str:
        body = self._client.document(f"{self._root.url}/{path}", DOCUMENT_BYTES)
        try:
            return body.decode()
        except UnicodeDecodeError as err:
            raise self.unreadable(path) from err

    def _known(self, filename: str) -> RegistryFile | None:
        with self._database.read() as session:
            return session.get(RegistryFile, filename)

    def _demand_connected(self, what: str) -> None:
        if self._settings.mirror.isolated:
            raise NotFound(f"{what} was not brought to this isolated site.", code="mirror.not_imported")

    @contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        """One at a time for a name, over all processes of the host."""
        folder = self._settings.mirror_dir / "registries"
        folder.mkdir(parents=True, exist_ok=True)
        # The lock's file stays: taking it away would let two processes hold locks of one name.
        slot = hashlib.sha256(f"{self._kind.ecosystem} {name}".encode()).hexdigest()[:3]
        with (folder / slot).open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    @cached_property
    def _client(self) -> Client:
        return Client((self._root,), self._settings.mirror.timeout_s, self._tally)


def _changed(filename: str) -> IntegrityFailure:
    return IntegrityFailure(
        f"Upstream now shows another digest for {filename} than it did first.", code="mirror.digest_changed"
    )
