"""Proof that journal, database, blobs and pages agree: every row and every byte is looked at, in flat memory.

It asks for no lock: on a farm at work, what changes meanwhile may show as a difference; ask again then.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from buildfarm.config import Settings
from buildfarm.db.engine import Database
from buildfarm.errors import NotFound
from buildfarm.index import namespacefacts, pagefacts
from buildfarm.index.model import Channel, ChannelEntry, File, Project
from buildfarm.index.pagefacts import PageProject
from buildfarm.index.pagetree import ROOT, PageTree
from buildfarm.index.projectpages import ProjectPages, Site
from buildfarm.index.render import Marking
from buildfarm.journal import merkle
from buildfarm.journal.model import JournalNode, JournalRow
from buildfarm.journal.record import size as journal_size
from buildfarm.journal.record import stored_node
from buildfarm.storage.blobs import Blobs

#: Rows that are in memory at once.
_AT_ONCE = 1000
_BATCH = 200


@dataclass(frozen=True)
class Difference:
    """Two things that should agree and do not; `where` is `journal`, `database`, `blobs` or `pages`."""

    where: str
    what: str


def differences(database: Database, blobs: Blobs, tree: PageTree, settings: Settings) -> Iterator[Difference]:
    """Everything that does not agree; nothing when all is well."""
    with database.read() as session:
        yield from _journal(session)
    with database.read() as session:
        yield from _rows(session)
    with database.read() as session:
        yield from _blobs(session, blobs)
    yield from _pages(database, Site.of(tree, blobs, settings))


def _journal(session: Session) -> Iterator[Difference]:
    """Serials are dense, every leaf is its row's, and the leaves give the root that is stored."""
    size, count = journal_size(session), 0
    peaks: list[tuple[int, bytes]] = []
    query = select(JournalRow.serial, JournalRow.kind, JournalRow.body, JournalRow.leaf, JournalNode.hash)
    query = query.outerjoin(
        JournalNode, (JournalNode.level == 0) & (JournalNode.index == JournalRow.serial - 1)
    ).order_by(JournalRow.serial)
    for serial, kind, body, leaf, stored in session.execute(query.execution_options(yield_per=_AT_ONCE)):
        count += 1
        if serial != count:
            yield Difference("journal", f"Row {count} is missing.")
            return
        digest = merkle.leaf_hash(leaf)
        if digest != stored or (kind != "attest" and leaf != body.encode()):
            yield Difference("journal", f"Row {serial} is not what its leaf in the tree says.")
        level = 0
        while peaks and peaks[-1][0] == level:
            digest, level = merkle.node_hash(peaks.pop()[1], digest), level + 1
        peaks.append((level, digest))
    if count != size:
        yield Difference("journal", f"The head says {size} rows, there are {count}.")
        return
    root = merkle.EMPTY_ROOT
    for number, (_level, digest) in enumerate(reversed(peaks)):
        root = merkle.node_hash(digest, root) if number else digest
    if root != merkle.root(size, partial(stored_node, session)):
        yield Difference("journal", "The rows do not give the root of the stored tree.")


def _rows(session: Session) -> Iterator[Difference]:
    """No entry is of a serial that the journal has not, and none shows what was withdrawn."""
    size = journal_size(session)
    beyond = select(ChannelEntry).where(or_(ChannelEntry.since > size, ChannelEntry.until > size))
    for entry in session.scalars(beyond.execution_options(yield_per=_AT_ONCE)):
        yield Difference("database", f"{entry.filename} in {entry.channel} is ahead of the journal.")
    shown = (
        select(ChannelEntry.channel, File.filename)
        .join(File, File.filename == ChannelEntry.filename)
        .where(ChannelEntry.until.is_(None), File.withdrawn_at.is_not(None))
    )
    for channel, filename in session.execute(shown.execution_options(yield_per=_AT_ONCE)):
        yield Difference("database", f"{filename} was withdrawn and is in {channel}.")


def _blobs(session: Session, blobs: Blobs) -> Iterator[Difference]:
    """Every file that is not withdrawn, and what stands beside it, is stored as its digest says."""
    query = select(
        File.filename, File.size, File.sha256, File.metadata_sha256, File.bundle_sha256,
        File.provenance_sha256,
    ).where(File.withdrawn_at.is_(None))  # fmt: skip
    for filename, size, sha256, *sides in session.execute(query.execution_options(yield_per=_AT_ONCE)):
        for digest in filter(None, (sha256, *sides)):
            try:
                path = blobs.path(digest)
            except NotFound:
                yield Difference("blobs", f"{digest} of {filename} is not stored.")
                continue
            with path.open("rb") as source:
                found = hashlib.file_digest(source, "sha256").hexdigest()
            if found != digest or (digest == sha256 and path.stat().st_size != size):
                yield Difference("blobs", f"{digest} of {filename} holds other bytes.")


def _pages(database: Database, site: Site) -> Iterator[Difference]:
    with database.read() as session:
        size = journal_size(session)
        channels = list(session.scalars(select(Channel.name).where(Channel.kind == "durable")))
        documents = namespacefacts.documents(session) if site.namespaces else {}
    if site.tree.serial != size:
        yield Difference("pages", f"They show serial {site.tree.serial}, the journal is at {size}.")
        return
    listed: dict[str, set[str]] = {channel: set() for channel in channels}
    last = ""
    while True:
        with database.read() as session:
            query = select(Project.name).where(Project.name > last).order_by(Project.name).limit(_BATCH)
            if not (batch := list(session.scalars(query))):
                break
            for project in pagefacts.projects(session, batch, namespaces=site.namespaces):
                for channel in channels:
                    if project.releases.get(channel):
                        listed[channel].add(project.name)
                        yield from _project(site, channel, project)
        last = batch[-1]
    for channel in channels:
        for path, (data, moment) in documents.items():
            yield from _document(site.tree, f"{channel}/{path}", data, moment)
        yield from _listing(site.tree, channel, listed[channel])


def _project(site: Site, channel: str, project: PageProject) -> Iterator[Difference]:
    pages = ProjectPages(site, channel, project.name, project.shown_in(channel))
    for documents in (pages.documents(Marking.of(project)), pages.release_documents(project.serials)):
        for path, data, mtime in documents:
            yield from _document(site.tree, path, data, mtime)
    folder, links = f"{channel}/files/{project.name}", dict(pages.links(pages.releases))
    for name in sorted(site.tree.listing(folder) | links.keys()):
        place = site.tree.root / folder / name
        target = os.readlink(place) if place.is_symlink() else None
        if name not in links or target != str(links[name]):
            yield Difference("pages", f"{folder}/{name} does not lead where the database says.")


def _document(tree: PageTree, path: str, data: bytes, mtime: int) -> Iterator[Difference]:
    found = tree.find(path)
    if found is None or (found.mtime, Path(found.path).read_bytes()) != (mtime, data):
        yield Difference("pages", f"{path} is not what the database says.")


def _listing(tree: PageTree, channel: str, names: set[str]) -> Iterator[Difference]:
    strangers = (name for name in tree.names(channel) if name not in names)
    for name in islice(strangers, _AT_ONCE):
        yield Difference("pages", f"{channel} shows {name}, of which the database knows nothing.")
    told = tree.read(f"{channel}/simple/{ROOT}.json.gz")
    shown = {one["name"] for one in json.loads(gzip.decompress(told))["projects"]} if told else None
    if shown != names:
        yield Difference("pages", f"The list of projects of {channel} is not what the database says.")
