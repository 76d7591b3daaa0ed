"""Mirror and union channels in the page tree: made when somebody asks, taken out when they are old.

Whatever is in the tree is answered without anybody asking again; what is not comes here. A name that is
ours is never asked upstream. The ETag of such a page is made from a counter of its own (`MirroredPage`),
which every change of its content raises, whatever changed it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy import Select, delete, func, or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from buildfarm import clock
from buildfarm.config import Settings
from buildfarm.db.engine import Database
from buildfarm.errors import Forbidden, NotFound
from buildfarm.farm.model import Artifact
from buildfarm.index import channels, mirrored_page, names, render, stagepages, supplements
from buildfarm.index.channels import Kind
from buildfarm.index.follow import BROAD, STAGE
from buildfarm.index.guarded import Guard, Sifted
from buildfarm.index.mirrored_page import Line
from buildfarm.index.model import Channel, ChannelEntry, File, Release
from buildfarm.index.pagetree import FORMS, ROOT, PageTree
from buildfarm.index.projectpages import Site, render_part
from buildfarm.index.runs import Runs
from buildfarm.journal.model import JournalRow
from buildfarm.journal.record import size as journal_size
from buildfarm.mirror import evict
from buildfarm.mirror.files import Growing
from buildfarm.mirror.model import MirroredPage, Supplement, UpstreamFile, UpstreamPage
from buildfarm.mirror.page import MirrorFile, MirrorPage
from buildfarm.mirror.upstream import Upstream
from buildfarm.shared import Shared
from buildfarm.storage.blobs import Blobs

#: How long a page that upstream did not confirm, or a list of projects, stays before it is made again.
_SHORT_LIFE_S = 30.0
_METADATA, _PROVENANCE = ".metadata", ".provenance"
#: Channels without files of their own: their pages change by time too.
_OPEN_ENDED = select(Channel.name).where(Channel.kind.not_in(channels.OWN_FILES))
_FILE_OF = re.compile(r"\.(?:metadata|provenance|sigstore\.json)$")


@dataclass(frozen=True)
class Place:
    """A channel, as far as it matters here: the mirror whose policy holds, the durable parts in order."""

    channel: str
    mirror: str | None
    durable: Sequence[str]

    @property
    def is_union(self) -> bool:
        """Whether it joins others."""
        return self.channel != self.mirror


class Mirrored:
    """Puts pages and files of mirror and union channels into the tree of this host.

    May be shared by threads and by processes of one host.
    """

    def __init__(
        self,
        database: Database,
        blobs: Blobs,
        upstream: Upstream,
        guard: Guard,
        settings: Settings,
    ) -> None:
        self._database, self._blobs, self._upstream, self._guard = database, blobs, upstream, guard
        self._settings, self._tree = settings, PageTree(settings.pages_dir)
        #: Asked for by many at once, decided and rendered once.
        self._pages: Shared[bool] = Shared()
        self._files: Shared[MirrorFile | None] = Shared()
        self._site = Site.of(self._tree, blobs, settings)

    def root(self, channel: str) -> None:
        """Put the list of a channel's projects into the tree: those that are known here."""
        with self._database.read() as session:
            place = _place(session, channel)
            known = set(session.scalars(select(UpstreamPage.project))) if place.mirror else set()
            known |= stagepages.names(session, channel)
            for part in place.durable:
                known |= set(session.scalars(_projects_of(part)))
        listed = Runs(known, key=str, ends=bool)
        has_namespaces = self._site.namespaces
        body = render.root_forms(listed, serial=0, namespaces=has_namespaces)["json.gz"]
        serial = self._serial(channel, ROOT, body, None)
        forms = render.root_forms(listed, serial=serial, namespaces=has_namespaces)
        self._tree.put_page(channel, ROOT, forms, serial)
        self._tree.note_change()

    def page(self, channel: str, name: str) -> bool:
        """Put the page of a project into the tree; False when the channel has no such project.

        Raises:
            ExternalFailure: nothing is known of the project and upstream is away.
        """
        return self._pages.do((channel, name), lambda: self._page(channel, name))

    def _page(self, channel: str, name: str) -> bool:
        while True:
            with self._database.read() as session:
                before = journal_size(session)
                place = _place(session, channel)
                is_ours = names.is_ours(session, name)
            is_there = self._local_page(place, name) if is_ours else self._upstream_page(place, name)
            if not self._was_overtaken(name, before):
                break
        self._tree.note_change()
        return is_there

    def file(self, channel: str, name: str, path: str) -> MirrorFile | None:
        """Put a file, or what stands beside one, into the tree; or say what is known of one not yet here.

        Raises:
            NotFound: the channel has no such file.
            Forbidden: a rule of the channel's policy, or of the validator, does not let it through.
            IntegrityFailure, ExternalFailure: what upstream gives is not what it should be, or nothing.
        """
        return self._files.do((channel, name, path), lambda: self._file(channel, name, path))

    def _file(self, channel: str, name: str, path: str) -> MirrorFile | None:
        while True:
            with self._database.read() as session:
                before = journal_size(session)
            file = self._decided(channel, name, path)
            # Whoever joined on the way may know of a change that came after the decision.
            if not self._was_overtaken(name, before):
                return file

    def _decided(self, channel: str, name: str, path: str) -> MirrorFile | None:
        with self._database.read() as session:
            place = _place(session, channel)
            is_ours = names.is_ours(session, name)
            supplement = session.get(Supplement, _FILE_OF.sub("", path))
        if is_ours or (supplement and place.is_union):
            self.page(channel, name)  # it links every file of its own
            if path not in self._tree.listing(f"{channel}/files/{name}"):
                raise NotFound(f"The channel {channel} has no {path}.", code="file.unknown")
            return None
        if path.endswith(_METADATA):
            self._demand_shown(place, name, path.removesuffix(_METADATA))
            digest = self._upstream.metadata_digest(name, path.removesuffix(_METADATA))
        elif path.endswith(_PROVENANCE):
            self._demand_shown(place, name, path.removesuffix(_PROVENANCE))
            digest = self._upstream.provenance(name, path.removesuffix(_PROVENANCE))
        else:
            file = self._demand_shown(place, name, path)
            try:
                held = self._upstream.files.held(path)
            except Forbidden as err:
                self._upstream.tally.guarded(channel, name, err.code, err.message)
                raise
            if held is None:
                return file
            digest = held.sha256
        self._tree.link(f"{channel}/files/{name}/{path}", self._blobs.path(digest).absolute())
        self._tree.note_change()
        return None

    def fetch(self, name: str, file: MirrorFile) -> Growing:
        """Begin to fetch what `file` found to be shown and not here.

        Raises:
            NotFound: `mirror.not_imported`.
            IntegrityFailure: `mirror.digest_changed`.
        """
        return self._upstream.fetch(name, file)

    def sweep(self) -> None:
        """Take out of the tree what is old, or was made anew by another host, or changes now by time alone.

        What upstream could not confirm is made again by the next reader, who waits for upstream no longer
        than `mirror.stale_wait_s`.
        """
        with self._database.read() as session:
            open_ended = session.scalars(_OPEN_ENDED).all()
        gone = [self._sweep(channel) for channel in open_ended]
        if any(gone):
            self._tree.note_change()

    def make_room(self) -> None:
        """Evict upstream files that have no room any more; what something else here needs stays."""
        if self._settings.mirror.isolated:
            return  # nobody could get the bytes back
        evict.mark(self._database, self._blobs, self._settings.mirror.max_bytes, _in_use)
        evict.collect(self._database, self._blobs, _in_use)

    def evict(self, name: str) -> list[str]:
        """Let go of what is kept of an upstream project, and of what was refused; the names of its files."""
        marked = evict.mark_project(self._database, name)
        self.renew(name)
        return marked

    def renew(self, name: str) -> None:
        """Take a project out of the tree, so that its next reader sees what is known now."""
        with self._database.read() as session:
            open_ended = session.scalars(_OPEN_ENDED).all()
        for channel in open_ended:
            self._tree.drop_project(channel, name)
        self._tree.note_change()

    def _sweep(self, channel: str) -> bool:
        present = set(self._tree.names(channel))
        life_s = min(self._settings.mirror.fresh_s, _SHORT_LIFE_S)
        if self._tree.age_s(f"{channel}/simple/{ROOT}.{FORMS[0]}") > life_s:
            self._tree.drop_page(channel, ROOT)
        if not present:
            return False
        now = clock.now()
        with self._database.read() as session:
            query = select(MirroredPage).where(MirroredPage.channel == channel)
            made = {row.project: row for row in session.scalars(query)}
            old = now - timedelta(seconds=self._settings.mirror.fresh_s)
            unconfirmed = select(UpstreamPage.project).where(UpstreamPage.checked_at <= old)
            # On an isolated site nobody could confirm them.
            stale = set() if self._settings.mirror.isolated else set(session.scalars(unconfirmed))
        gone = 0
        for name in present & made.keys():
            shown = self._tree.find(f"{channel}/simple/{name}.{FORMS[0]}")
            until = made[name].until
            if (shown and shown.serial != made[name].serial) or (until and until <= now):
                self._tree.drop_project(channel, name)
            elif name in stale and self._tree.age_s(f"{channel}/simple/{name}.{FORMS[0]}") > life_s:
                self._tree.drop_page(channel, name)
            else:
                continue
            gone += 1
        return gone > 0

    def _local_page(self, place: Place, name: str) -> bool:
        """The page of a name that is ours: of a stage's own files, or of the first durable part with any."""
        with self._database.read() as session:
            was_upstream = session.get(MirroredPage, (place.channel, name)) is not None
        if was_upstream:
            with self._database.begin() as session:
                key = (MirroredPage.channel == place.channel, MirroredPage.project == name)
                session.execute(delete(MirroredPage).where(*key))
        with self._database.read() as session:
            if stagepages.render(session, self._site, place.channel, name):
                return True
            for part in place.durable:
                if session.scalars(_projects_of(part).where(Release.project == name)).first():
                    render_part(session, self._site, part, name, into=place.channel)
                    return True
        self._tree.drop_project(place.channel, name)
        sentence = f"{name} is a name of this farm, so no upstream is asked for it."
        self._upstream.tally.guarded(place.channel, name, "name-is-ours", sentence)
        return False

    def _upstream_page(self, place: Place, name: str) -> bool:
        page = self._upstream.rows(name) if place.mirror else None
        if page is None or place.mirror is None:
            self._tree.drop_project(place.channel, name)
            return False
        sifted = self._guard.sift(place.mirror, page)
        with self._database.read() as session:
            known = session.scalars(select(UpstreamFile).where(UpstreamFile.project == name))
            files = {file.filename: file for file in known}
            built = supplements.of_project(session, name) if place.is_union else []
        held = {filename: file for filename, file in files.items() if self._blobs.has(file.sha256)}
        offered = [one for one in sifted.shown if _is_offered(page, one, files, held)]
        if self._settings.mirror.isolated:
            offered = [one for one in offered if one.filename in held]
        lines = [mirrored_page.line_of(page, one, files.get(one.filename)) for one in offered]
        lines += [mirrored_page.line_of_supplement(one) for one in built]
        self._put(place.channel, page, lines, sifted)
        targets = {one.filename: held[one.filename].sha256 for one in offered if one.filename in held}
        targets |= dict(supplements.digests(built))
        self._link(place.channel, name, targets, {line.filename for line in lines})
        return True

    def _put(self, channel: str, page: MirrorPage, lines: Sequence[Line], sifted: Sifted) -> None:
        root = f"{self._settings.public_url}/{channel}/files/{page.name}"
        has_namespaces = self._site.namespaces
        body = mirrored_page.project_json(page, lines, provenance_root=root, namespaces=has_namespaces)
        serial = self._serial(channel, page.name, body, sifted.due)
        forms = render.compressed(
            mirrored_page.with_serial(body, serial, namespaces=has_namespaces),
            mirrored_page.project_html(page, lines, provenance_root=root),
        )
        self._tree.put_page(channel, page.name, forms, serial)

    def _serial(self, channel: str, name: str, body: bytes, until: datetime | None) -> int:
        """The number of this content: the last one, or the next when it is another content."""
        digest = hashlib.sha256(body).hexdigest()
        with self._database.read() as session:
            row = session.get(MirroredPage, (channel, name))
            if row and (row.digest, row.until) == (digest, until):
                return row.serial
        try:
            return self._count(channel, name, digest, until)
        except IntegrityError:
            # Another process made the page for the first time too, and was faster.
            return self._count(channel, name, digest, until)

    def _count(self, channel: str, name: str, digest: str, until: datetime | None) -> int:
        """Note what the page holds now, under the next serial where that is new."""
        with self._database.begin() as session:
            row = session.get(MirroredPage, (channel, name), with_for_update=True)
            if row is None:
                row = MirroredPage(channel=channel, project=name, digest="", serial=0)
                session.add(row)
            if row.digest != digest:
                row.digest, row.serial = digest, row.serial + 1
            row.until = until
            return row.serial

    def _link(self, channel: str, name: str, targets: Mapping[str, str], listed: set[str]) -> None:
        for path, digest in targets.items():
            self._tree.link(f"{channel}/files/{name}/{path}", self._blobs.path(digest).absolute())
        # Metadata of what is listed stays; provenance may have grown, so it is asked for again.
        kept = targets.keys() | {filename + _METADATA for filename in listed}
        for path in self._tree.listing(f"{channel}/files/{name}") - kept:
            self._tree.drop(f"{channel}/files/{name}/{path}")

    def _demand_shown(self, place: Place, name: str, filename: str) -> MirrorFile:
        """Refuse a file that the channel's page would not list."""
        page = self._upstream.rows(name) if place.mirror else None
        if page is None or place.mirror is None or filename not in page.files:
            raise NotFound(f"The channel {place.channel} has no {filename}.", code="file.unknown")
        if page.content.status == "quarantined":
            raise Forbidden(f"Upstream has put {name} into quarantine.", code="mirror.quarantined")
        alone = replace(page, content=replace(page.content, files={filename: page.files[filename]}))
        refusal = self._guard.sift(place.mirror, alone).refused.get(filename)
        if refusal:
            self._upstream.tally.guarded(place.channel, name, refusal.rule, refusal.sentence)
            raise Forbidden(refusal.sentence, code="mirror.policy", rule=refusal.rule)
        return page.files[filename]

    def _was_overtaken(self, name: str, before: int) -> bool:
        """Whether the journal says since then that the page is another one."""
        kinds = (*BROAD, STAGE)
        about = or_(JournalRow.project == name, *(JournalRow.kind.startswith(kind) for kind in kinds))
        with self._database.read() as session:
            later = select(func.count()).where(JournalRow.serial > before, about)
            return bool(session.execute(later).scalar_one())


def _is_offered(
    page: MirrorPage,
    file: MirrorFile,
    known: Mapping[str, UpstreamFile],
    held: Mapping[str, UpstreamFile],
) -> bool:
    """Whether the file can be served: not refused, and either here or still to be had as first seen.

    Forms that standards have given up (`.egg`, `.exe`, `.zip`) no rule of the validator lets through.
    """
    if not file.filename.endswith((".whl", ".tar.gz")):
        return False
    if page.content.status == "quarantined" or (
        file.filename in known and known[file.filename].refused is not None
    ):
        return False
    return file.filename in held or not (file.gone_since or file.changed_to)


def _in_use(session: Session, digests: Collection[str]) -> set[str]:
    """Digests that are not the mirror's alone."""
    found: set[str] = set()
    wanted = sorted(digests)
    for start in range(0, len(wanted), 500):
        part = wanted[start : start + 500]
        for column in (File.sha256, Artifact.sha256, Supplement.sha256):
            found |= set(session.scalars(select(column).where(column.in_(part))))
    return found


def _place(session: Session, channel: str) -> Place:
    row = channels.get(session, channel)
    parts = [row] if row.kind == Kind.MIRROR else [channels.get(session, part) for part in row.parts]
    return Place(
        channel=channel,
        mirror=next((part.name for part in parts if part.kind == Kind.MIRROR), None),
        durable=[part.name for part in parts if part.kind == Kind.DURABLE],
    )


def _projects_of(channel: str) -> Select[str]:
    return (
        select(Release.project)
        .join(File, File.release_id == Release.id)
        .join(ChannelEntry, ChannelEntry.filename == File.filename)
        .where(ChannelEntry.channel == channel, ChannelEntry.until.is_(None))
        .distinct()
    )
