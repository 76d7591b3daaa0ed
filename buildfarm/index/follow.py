"""The page follower: applies journal rows to this node's rendered pages, and writers that wait for it.

A row that names a project makes that project's pages stale in every channel; they are rendered from
SQL, once per change. The serial a node has reached stands in its follower row, so a writer can wait
until its change is visible everywhere.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from buildfarm import clock, log
from buildfarm.config import Settings
from buildfarm.db.engine import Database
from buildfarm.index import render
from buildfarm.index.model import Channel, ChannelEntry, File, Follower, Release
from buildfarm.index.pagetree import ON_DEMAND, ROOT, PageTree
from buildfarm.index.render import PageFile
from buildfarm.journal.model import JournalRow
from buildfarm.journal.record import size as journal_size
from buildfarm.storage.blobs import Blobs

#: A node that has not reported for so long is gone; nobody waits for it.
GONE = timedelta(seconds=10)
#: Kinds of rows that name no project and change what mirror and union channels show.
BROAD = ("channel.", "policy.", "lift.", "advisories.", "namespace.")
_POLL_S = 0.02
_log = log.get(__name__)


class PageFollower:
    """Keeps the page tree of one node in step with the journal."""

    def __init__(self, database: Database, blobs: Blobs, tree: PageTree, settings: Settings) -> None:
        self._database, self._blobs, self._tree, self._settings = database, blobs, tree, settings
        self._reported = 0.0

    def catch_up(self) -> int:
        """Render what changed since the tree's serial; returns the serial the tree shows now."""
        with self._database.read() as session:
            newest = journal_size(session)
            serial = self._tree.serial
            if newest != serial:
                stale = None if serial < 0 or serial > newest else self._changed(session, serial)
                self._render(session, stale, newest)
                self._hand_to_web(session, stale, serial)
                self._tree.set_serial(newest)
        if newest != serial or time.monotonic() - self._reported > 2:
            self._report(newest)
        return newest

    def _changed(self, session: Session, serial: int) -> set[str]:
        rows = select(JournalRow.project).where(JournalRow.serial > serial, JournalRow.project.is_not(None))
        return {name for name in session.scalars(rows.distinct()) if name}

    def _render(self, session: Session, names: set[str] | None, serial: int) -> None:
        listed = _listed(session)
        for channel in session.scalars(select(Channel.name).where(Channel.kind == "durable")).all():
            before = set(self._tree.names(channel))
            wanted = listed[channel] | before if names is None else names
            for name in sorted(wanted):
                self.render_project(session, channel, name)
            if before != listed[channel] or not self._tree.find(f"{channel}/simple/{ROOT}.json.gz"):
                self._render_root(channel, listed[channel], serial)

    def _hand_to_web(self, session: Session, names: set[str] | None, serial: int) -> None:
        """Pages of mirrors and unions are made by web when somebody asks; a changed one is made anew."""
        about = or_(*(JournalRow.kind.startswith(kind) for kind in BROAD))
        broad = session.scalars(select(JournalRow.serial).where(JournalRow.serial > serial, about)).first()
        for channel in session.scalars(select(Channel.name).where(Channel.kind != "durable")).all():
            self._tree.put(f"{channel}/{ON_DEMAND}", b"", 0)
            for name in list(self._tree.names(channel)) if names is None or broad else names:
                self._tree.drop_page(channel, name)

    def _render_root(self, channel: str, names: set[str], serial: int) -> None:
        forms = render.compressed(
            render.root_json(sorted(names), serial=serial), render.root_html(sorted(names))
        )
        self._tree.put_page(channel, ROOT, forms, serial)

    def render_project(self, session: Session, part: str, name: str, *, into: str = "") -> None:
        """Render what a durable channel has of a project, as its own page or as that of a union (`into`)."""
        channel = into or part
        files = _page_files(session, part, name)
        if not files:
            self._tree.drop_page(channel, name)
            return
        serial = (
            session.scalars(select(func.max(JournalRow.serial)).where(JournalRow.project == name)).one() or 0
        )
        links = {path: target for file in files for path, target in self._links(file)}
        for path, target in links.items():
            self._tree.link(f"{channel}/files/{name}/{path}", target)
        root = f"{self._settings.public_url}/{channel}/files/{name}"
        forms = render.compressed(
            render.project_json(name, files, provenance_root=root, serial=serial),
            render.project_html(name, files, provenance_root=root),
        )
        self._tree.put_page(channel, name, forms, serial)
        for path in self._tree.links(channel, name) - links.keys():
            self._tree.drop(f"{channel}/files/{name}/{path}")

    def _links(self, file: PageFile) -> Iterator[tuple[str, Path]]:
        """What stands in the project's folder for a file: its bytes, and what belongs to them."""
        sides = {
            "": file.sha256,
            ".metadata": file.metadata_sha256 if file.filename.endswith(".whl") else None,
            ".provenance": file.provenance_sha256,
            ".sigstore.json": file.bundle_sha256,
        }
        for suffix, digest in sides.items():
            if digest and self._blobs.has(digest):
                yield file.filename + suffix, self._blobs.path(digest).absolute()
            elif digest:
                # One lost file must not keep every later change from being shown.
                _log.error("pages.blob_missing", filename=file.filename + suffix, sha256=digest)

    def _report(self, serial: int) -> None:
        with self._database.begin() as session:
            row = session.get(Follower, self._settings.node) or Follower(node=self._settings.node)
            row.serial, row.seen_at = serial, clock.now()
            session.add(row)
        self._reported = time.monotonic()


def wait_visible(database: Database, serial: int, seconds: float) -> bool:
    """Wait until every live node shows the serial; False when one lags behind after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        with database.read() as session:
            behind = session.execute(
                select(func.count()).where(Follower.seen_at > clock.now() - GONE, Follower.serial < serial)
            ).scalar_one()
        if not behind:
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_S)


def is_current(database: Database, node: str) -> bool:
    """Whether this node's pages show the journal, or did a moment ago and are being rendered."""
    with database.read() as session:
        row = session.get(Follower, node)
        newest = journal_size(session)
    return row is not None and (row.serial == newest or row.seen_at > clock.now() - timedelta(seconds=5))


def _listed(session: Session) -> dict[str, set[str]]:
    rows = session.execute(
        select(ChannelEntry.channel, Release.project)
        .join(File, File.filename == ChannelEntry.filename)
        .join(Release, Release.id == File.release_id)
        .where(ChannelEntry.until.is_(None))
        .distinct()
    )
    names: dict[str, set[str]] = defaultdict(set)
    for channel, project in rows:
        names[channel].add(project)
    return names


def _page_files(session: Session, channel: str, name: str) -> list[PageFile]:
    rows = session.execute(
        select(File, Release.version)
        .join(Release, Release.id == File.release_id)
        .join(ChannelEntry, ChannelEntry.filename == File.filename)
        .where(Release.project == name, ChannelEntry.channel == channel, ChannelEntry.until.is_(None))
    )
    return [
        PageFile(
            filename=file.filename,
            version=version,
            sha256=file.sha256,
            size=file.size,
            uploaded_at=file.uploaded_at,
            requires_python=file.requires_python,
            metadata_sha256=file.metadata_sha256,
            bundle_sha256=file.bundle_sha256,
            provenance_sha256=file.provenance_sha256,
            yanked=file.yanked,
        )
        for file, version in rows
    ]
