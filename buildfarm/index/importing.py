"""Taking in what a bundle brings to a mirror: its signature first, then pages, then files one by one.

What is taken in is as if upstream had sent it: the first sight of a digest is journalled, every file
goes through the validator, names that are ours are passed over, and the channel's policy holds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from io import BufferedIOBase
from itertools import takewhile

from buildfarm.db.engine import Database
from buildfarm.errors import FarmError, IntegrityFailure, NotFound
from buildfarm.index import guarded, names
from buildfarm.index.mirrored import Mirrored
from buildfarm.journal.record import record
from buildfarm.mirror import advisories, evidence, manifest
from buildfarm.mirror.manifest import Carried, Header, Line
from buildfarm.mirror.model import UpstreamFile, UpstreamProvenance
from buildfarm.mirror.upstream import Upstream
from buildfarm.storage.blobs import Blobs
from buildfarm.trust import root


@dataclass(frozen=True)
class PassedOver:
    """A project of a bundle that was not taken in, and why."""

    project: str
    rule: str
    sentence: str


@dataclass
class Taken:
    """What a manifest changed: projects whose page is another one now, advisories that are new here.

    `origin` is the log that proves it, `exported_as` the row there; `serial` the row of our own journal,
    None when nothing changed.
    """

    origin: str
    exported_as: int
    sha256: str
    projects: int = 0
    changed: int = 0
    advisories: int = 0
    passed_over: list[PassedOver] = field(default_factory=list)
    serial: int | None = None


@dataclass(frozen=True)
class Importer:
    """Takes bundles in; may be shared by threads."""

    database: Database
    blobs: Blobs
    upstream: Upstream
    mirrored: Mirrored

    def take_manifest(
        self, channel: str, trusted_root: str, proof: str, text: BufferedIOBase, *, actor: str
    ) -> Taken:
        """Check a manifest, from where `text` stands to its end, and take in its pages.

        Raises:
            NotFound: `channel.unknown`.
            Conflict: `channel.no_mirror`.
            InvalidInput: `root.malformed`.
            IntegrityFailure: `bundle.evidence`, `bundle.manifest`; nothing was taken in.
        """
        with self.database.read() as session:
            mirror = guarded.mirror_of(session, channel)
        start = text.tell()
        sha256 = hashlib.file_digest(text, "sha256").hexdigest()
        proved = evidence.check(proof, root.load(trusted_root.encode()), sha256)
        taken = Taken(proved.origin, proved.serial, proved.sha256)
        text.seek(start)
        self._take_advisories(taken, manifest.read(text), actor)
        text.seek(start)
        for line in manifest.read(text):
            if isinstance(line, Carried):
                self._take_project(taken, line)
        if taken.changed or taken.advisories:
            self._journal(mirror, taken, actor)
        return taken

    def take_file(self, project: str, filename: str, chunks: Iterable[bytes]) -> UpstreamFile:
        """Take in the bytes of a file that a page lists; one that is here already is left alone.

        Raises:
            NotFound: `mirror.unknown_file`, no page that is known here lists it with its digest.
            Forbidden: `mirror.refused`, the validator refuses it.
            IntegrityFailure: `blob.digest`, these are other bytes.
            LimitExceeded: `blob.too_large`.
            ExternalFailure: `file.v-01`, its check crashed or ran out of time.
        """
        page = self.upstream.pages.stored(project)
        row = page.files.get(filename) if page else None
        if row is None or row.sha256 is None:
            raise NotFound(f"No page that is known here lists {filename}.", code="mirror.unknown_file")
        file = self.upstream.files.take_in(project, row, chunks)
        self.mirrored.renew(project)
        return file

    def _take_advisories(self, taken: Taken, parts: Iterator[Line], actor: str) -> None:
        """Replace the advisories when the bundle brings others."""
        header = next(parts, None)
        if not isinstance(header, Header):
            raise IntegrityFailure("The bundle's manifest has no header.", code="bundle.manifest")
        with self.database.read() as session:
            if header.advisories in {None, advisories.digest(session)}:
                return
        records = (
            one for one in takewhile(lambda one: isinstance(one, bytes), parts) if isinstance(one, bytes)
        )
        with self.database.begin() as session:
            done = advisories.import_records(session, records, sha256=str(header.advisories), actor=actor)
        taken.advisories = done.advisories

    def _take_project(self, taken: Taken, carried: Carried) -> None:
        name = carried.page.name
        taken.projects += 1
        with self.database.read() as session:
            is_ours = names.is_ours(session, name)
        if is_ours:
            sentence = f"{name} is a name of this farm."
            taken.passed_over.append(PassedOver(name, "name-is-ours", sentence))
            return
        try:
            is_changed = self.upstream.pages.take_in(carried.page, is_json=carried.is_json)
        except FarmError as err:
            taken.passed_over.append(PassedOver(name, err.code, err.message))
            return
        is_changed |= self._take_provenance(carried)
        taken.changed += is_changed
        if is_changed:
            self.mirrored.renew(name)

    def _take_provenance(self, carried: Carried) -> bool:
        stored = {name: self.blobs.put_bytes(text.encode()) for name, text in carried.provenance.items()}
        with self.database.begin() as session:
            changed = False
            for filename, sha256 in stored.items():
                known = session.get(UpstreamProvenance, filename)
                if known and (known.sha256 == sha256 or known.fetched_at > carried.page.checked_at):
                    continue
                row = UpstreamProvenance(filename=filename, sha256=sha256, fetched_at=carried.page.checked_at)
                session.merge(row)
                changed = True
        return changed

    def _journal(self, mirror: str, taken: Taken, actor: str) -> None:
        with self.database.begin() as session:
            row = record(
                session, "mirror.import", channel=mirror, sha256=taken.sha256, origin=taken.origin,
                exported_as=taken.exported_as, changed=taken.changed, actor=actor,
            )  # fmt: skip
        taken.serial = row.serial
