"""Writing down what of a mirror goes to an isolated site: pages, files, provenance, advisories.

Only what the channel shows and what is here: policy holds for what leaves as for what is served. The
manifest is kept as a blob and named in the journal, so that a signed head proves it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

from sqlalchemy import select

from buildfarm.db.engine import Database
from buildfarm.errors import InvalidInput
from buildfarm.index import guarded, names, prefetch
from buildfarm.index.guarded import Guard
from buildfarm.journal.record import record
from buildfarm.mirror import advisories, evidence, manifest
from buildfarm.mirror.manifest import Carried, Header
from buildfarm.mirror.model import UpstreamFile, UpstreamPage, UpstreamProvenance
from buildfarm.mirror.page import MirrorPage
from buildfarm.mirror.upstream import Upstream
from buildfarm.storage.blobs import Blobs


@dataclass(frozen=True)
class Exported:
    """An export: the serial of its journal row, its manifest's digest, what goes along."""

    serial: int
    sha256: str
    projects: int
    files: int
    bytes: int


@dataclass(frozen=True)
class Exporter:
    """Composes manifests; may be shared by threads."""

    database: Database
    blobs: Blobs
    upstream: Upstream
    guard: Guard

    def export(self, channel: str, text: str | None, *, actor: str) -> Exported:
        """Compose the manifest of what a mirror or union channel has of upstream, and journal it.

        Args:
            channel: whose policy holds; a union's own files are not upstream's and stay.
            text: a lock file or list of requirements, whose files alone go along; None: all that is here.
            actor: who carries it away.

        Raises:
            NotFound: `channel.unknown`.
            Conflict: `channel.no_mirror`.
            InvalidInput: `lock.syntax`; `export.empty`, nothing of that is here.
            ExternalFailure: `mirror.unreachable`, upstream knows what is needed and is away.
        """
        with self.database.read() as session:
            mirror = guarded.mirror_of(session, channel)
        wanted = None
        if text is not None:
            plan = prefetch.plan(self.database, self.guard, self.upstream, channel, text)
            wanted = {one.filename for one in plan.files}
        projects = files = size = 0
        with self.blobs.incoming() as incoming:
            for line in self._head(mirror):
                incoming.write(line)
            for carried in self._projects(mirror, wanted):
                incoming.write(manifest.project_line(carried))
                projects, files = projects + 1, files + len(carried.page.files)
                size += sum(file.size or 0 for file in carried.files)
            if not files:
                raise InvalidInput(
                    f"Nothing of that is here for {channel} to give away.",
                    code="export.empty",
                    hint="`buildfarm mirror prefetch` has the mirror hold what a lock file needs.",
                )
            sha256 = incoming.keep()
        with self.database.begin() as session:
            row = record(
                session, evidence.KIND, channel=mirror, sha256=sha256, projects=projects, files=files,
                bytes=size, actor=actor,
            )  # fmt: skip
        return Exported(row.serial or 0, sha256, projects, files, size)

    def _head(self, mirror: str) -> Iterator[bytes]:
        with self.database.read() as session:
            yield manifest.header_line(Header(mirror, advisories.digest(session)))
            for one in advisories.export_records(session):
                yield manifest.advisory_line(one)

    def _projects(self, mirror: str, wanted: Collection[str] | None) -> Iterator[Carried]:
        for page in self.upstream.pages.every():
            if wanted is not None and not (page.files.keys() & wanted):
                continue
            carried = self._carried(mirror, page, wanted)
            if carried:
                yield carried

    def _carried(self, mirror: str, page: MirrorPage, wanted: Collection[str] | None) -> Carried | None:
        with self.database.read() as session:
            if names.is_ours(session, page.name):
                return None
            is_json = session.get_one(UpstreamPage, page.name).is_json
            of_project = UpstreamFile.project == page.name
            known = session.scalars(select(UpstreamFile).where(of_project, UpstreamFile.refused.is_(None)))
            held = {one.filename: one for one in known if self.blobs.has(one.sha256)}
            documents = session.scalars(
                select(UpstreamProvenance).where(UpstreamProvenance.filename.in_(held))
            )
            provenance = {
                one.filename: self.blobs.read(one.sha256).decode()
                for one in documents
                if self.blobs.has(one.sha256)
            }
        files = {}
        for file in self.guard.sift(mirror, page).shown:
            if (one := held.get(file.filename)) and (wanted is None or file.filename in wanted):
                url = file.provenance_url if file.filename in provenance else None
                files[file.filename] = replace(file, sha256=one.sha256, size=one.size, provenance_url=url)
        if not files:
            return None
        cut = replace(page, content=replace(page.content, files=files, versions=()))
        return Carried(cut, is_json, {name: text for name, text in provenance.items() if name in files})
