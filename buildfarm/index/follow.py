"""The page follower: applies journal rows to this node's rendered pages.

A row that names a release makes that release's lines stale in every channel, one that names a project all
of its pages; they are rendered from SQL, once per change. The serial a node has reached stands in its
follower row, so a writer can wait until its change is visible everywhere (`visible.py`).
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from buildfarm import clock
from buildfarm.config import Settings
from buildfarm.db.engine import Database
from buildfarm.errors import StorageFull
from buildfarm.index import channels, namespacefacts, pagefacts
from buildfarm.index.lists import ChannelLists
from buildfarm.index.model import Channel, Follower, Project
from buildfarm.index.pagefacts import PageProject, Serials
from buildfarm.index.pagetree import ON_DEMAND, ROOT, PageTree
from buildfarm.index.projectpages import ProjectPages, Site
from buildfarm.index.render import Marking
from buildfarm.journal.model import JournalRow
from buildfarm.journal.record import size as journal_size
from buildfarm.storage.blobs import Blobs

#: Kinds of rows that name no project and change what mirror and union channels show.
BROAD = ("channel.", "policy.", "lift.", "advisories.", "namespace.")
#: Kinds of rows that are about one stage alone.
STAGE = "stage."
#: Changes whenever equal facts give other bytes than before, so that every node renders anew.
_FORMAT = 2
_STAMP = ".stamp"
#: More rows than this are not looked at one by one: what they name is rendered whole.
_MANY_ROWS = 2000
_BATCH = 200
#: Files whose lines are kept in memory, so that the next change of their project costs one run.
_KEPT_FILES = 50_000
#: A project with so many files is dear to render, so its lines are made again after a restart.
_MANY_FILES = 500
#: A node says so often that it is alive, seconds; nobody waits for one that has not for long.
_REPORT_S = 2.0


class PageFollower:
    """Keeps the page tree of one node in step with the journal."""

    def __init__(self, database: Database, blobs: Blobs, tree: PageTree, settings: Settings) -> None:
        self._database, self._tree, self._settings = database, tree, settings
        self._site = Site.of(tree, blobs, settings)
        #: Pages by channel and name, the longest unchanged first, with the files each was counted as.
        self._kept: dict[tuple[str, str], tuple[ProjectPages, int]] = {}
        self._kept_files = 0
        self._lists: dict[str, ChannelLists] = {}
        self._on_demand: set[str] = set()
        self._reported = 0.0

    def catch_up(self) -> int:
        """Render what changed since the tree's serial; returns the serial the tree shows now.

        Raises:
            StorageFull: the disk takes no more pages; those there are stay.
        """
        with self._writing():
            newest, is_changed = self._catch_up()
        if is_changed or time.monotonic() - self._reported > _REPORT_S:
            self._report(newest)
        return newest

    def warm(self) -> Iterator[bool]:
        """Make again, step by step, what a restart lost and a change would wait for; True before each step.

        Raises:
            StorageFull: as `catch_up`.
        """
        for lists in list(self._lists.values()):
            yield True
            lists.warm()
        with self._database.read() as session:
            names = pagefacts.largest(session, files_each=_MANY_FILES, files=_KEPT_FILES // 2)
        for name in names:
            yield True
            if not any((channel, name) in self._kept for channel in self._lists):
                with self._writing():
                    self._render_whole([name])

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as err:
            self._forget_all()
            raise StorageFull(f"The page tree takes no pages: {err.strerror}.") from err

    @property
    def due_in_s(self) -> float:
        """Seconds until something that was put off may be written; infinity when nothing was."""
        return min((lists.due_in_s for lists in self._lists.values()), default=math.inf)

    def _catch_up(self) -> tuple[int, bool]:
        shown = self._tree.serial
        with self._database.read() as session:
            newest = journal_size(session)
            is_anew = shown < 0 or shown > newest or self._tree.read(_STAMP) != self._stamp()
            if newest != shown or not self._lists:
                self._find_channels(session)
            if newest != shown and not is_anew:
                self._apply(session, shown, newest)
        if is_anew:
            self._render_all()
        due = [lists for lists in self._lists.values() if lists.due_in_s <= 0]
        if due:
            with self._database.read() as session:
                for lists in due:
                    lists.write(session)
        if newest != shown or is_anew:
            self._tree.set_serial(newest)
        elif due:
            self._tree.note_change()
        return newest, newest != shown

    def _stamp(self) -> bytes:
        """What besides the database the bytes of a page depend on."""
        site = self._site
        facts = (_FORMAT, site.public_url, site.namespaces, str(site.blobs.root.absolute()))
        return hashlib.sha256(repr(facts).encode()).hexdigest().encode()

    def _find_channels(self, session: Session, *, anew: bool = False) -> None:
        """Know the lists of channels that have files of their own; give the others their sign.

        What is in the tree of a channel that is gone goes too.
        """
        self._on_demand.clear()
        known = dict(session.execute(select(Channel.name, Channel.kind)).all())
        for folder in self._tree.listing("") - known.keys():
            if (self._tree.root / folder).is_dir():
                self._tree.drop(folder)
        for name, kind in known.items():
            if kind not in channels.OWN_FILES:
                self._on_demand.add(name)
                self._lists.pop(name, None)
                if not self._tree.find(f"{name}/{ON_DEMAND}"):  # there may be many stages
                    self._tree.put(f"{name}/{ON_DEMAND}", b"", 0)
                continue
            # A channel of this name may have been of another kind.
            self._tree.drop(f"{name}/{ON_DEMAND}")
            if name not in self._lists:
                self._lists[name] = ChannelLists(session, self._site, name, anew=anew)

    # What changed -----------------------------------------------------------------------------------

    def _apply(self, session: Session, shown: int, newest: int) -> None:
        changed, is_broad = _changed(session, shown, newest)
        if is_broad and self._site.namespaces:
            changed |= dict.fromkeys(namespacefacts.touched(session, shown, newest))
            self._write_namespaces(session)
        self._hand_to_web(None if is_broad else changed)
        for stage in _changed_stages(session, shown, newest) & self._on_demand:
            for name in list(self._tree.names(stage)):
                self._tree.drop_project(stage, name)
            self._tree.drop_page(stage, ROOT)
        whole = [
            name
            for name, serials in changed.items()
            if serials is None or not self._change(session, name, serials)
        ]
        self._render_whole(whole)

    def _hand_to_web(self, names: Iterable[str] | None) -> None:
        """Pages of mirrors and unions are made by web when somebody asks; changed ones (None: all) anew."""
        for channel in self._on_demand:
            for name in list(self._tree.names(channel) if names is None else names):
                self._tree.drop_project(channel, name)

    def _write_namespaces(self, session: Session) -> None:
        """Bring the documents about namespaces to what they are, in every channel; none when untold."""
        documents = namespacefacts.documents(session) if self._site.namespaces else {}
        for channel in (*self._lists, *self._on_demand):
            for path, (data, moment) in documents.items():
                self._tree.put(f"{channel}/{path}", data, moment)
            folder = namespacefacts.DETAILS
            there = {f"{folder}/{name}" for name in self._tree.listing(f"{channel}/{folder}")}
            for path in {namespacefacts.LIST, *there} - documents.keys():
                self._tree.drop(f"{channel}/{path}")

    def _change(self, session: Session, name: str, serials: Serials) -> bool:
        """Render the releases that changed, where the rest of the project's pages is at hand."""
        columns = (Project.status, Project.status_reason, Project.local_since)
        head = session.execute(select(*columns).where(Project.name == name)).first()
        pages = {channel: self._kept.get((channel, name), (None, 0))[0] for channel in self._lists}
        missing = [channel for channel, kept in pages.items() if kept is None]
        if not head or any(self._tree.find(f"{channel}/simple/{name}.json.gz") for channel in missing):
            return False
        claims = None
        if self._site.namespaces:
            claims = namespacefacts.coverage(session, {name: head.local_since})[name].claims
        marking = Marking(serials.project, head.status, head.status_reason, claims)
        releases = pagefacts.releases(session, name, serials.releases)
        for channel, kept in pages.items():
            if kept is None and not releases.get(channel):
                continue
            page = kept or ProjectPages(self._site, channel, name, [])
            page.change(serials.releases, releases.get(channel, []), serials, marking)
            self._settle(page, serials.project)
        return True

    # Whole projects ---------------------------------------------------------------------------------

    def _render_all(self) -> None:
        """Render every project, on a tree that is empty or not to be believed; flat memory."""
        self._forget_all()
        with self._database.read() as session:
            self._find_channels(session)
            self._hand_to_web(None)
        last = ""
        while names := self._names_after(last):
            self._render_whole(names, anew=True)
            last = names[-1]
        for channel in self._lists:
            self._sweep(channel)
        self._lists.clear()
        with self._database.read() as session:
            self._find_channels(session, anew=True)
            self._write_namespaces(session)
        self._tree.put(_STAMP, self._stamp(), 0)

    def _names_after(self, name: str) -> list[str]:
        query = select(Project.name).where(Project.name > name).order_by(Project.name).limit(_BATCH)
        with self._database.read() as session:
            return list(session.scalars(query))

    def _sweep(self, channel: str) -> None:
        """Take away what the database knows nothing of."""
        names = self._tree.names(channel)
        while batch := list(islice(names, _BATCH)):
            with self._database.read() as session:
                known = set(session.scalars(select(Project.name).where(Project.name.in_(batch))))
            for name in batch:
                if name not in known:
                    self._tree.drop_project(channel, name)

    def _render_whole(self, names: Iterable[str], *, anew: bool = False) -> None:
        left = iter(names)
        while batch := list(islice(left, _BATCH)):
            with self._database.read() as session:
                for project in pagefacts.projects(session, batch, namespaces=self._site.namespaces):
                    self._render(project, anew=anew)

    def _render(self, project: PageProject, *, anew: bool) -> None:
        marking = Marking.of(project)
        for channel in self._lists:
            releases = project.releases.get(channel, [])
            self._lists[channel].note(project.name, marking.serial, releases)
            if not releases:
                self._forget((channel, project.name))
                self._tree.drop_project(channel, project.name)
                continue
            pages = ProjectPages(self._site, channel, project.name, project.shown_in(channel))
            pages.write(project.serials, marking, anew=anew)
            if not anew:
                self._keep(pages)

    def _settle(self, pages: ProjectPages, serial: int) -> None:
        """After a change: the project is listed while it has a release here."""
        self._lists[pages.channel].note(pages.name, serial, pages.releases)
        if pages.releases:
            self._keep(pages)
        else:
            self._forget((pages.channel, pages.name))
            self._tree.drop_project(pages.channel, pages.name)

    def _keep(self, pages: ProjectPages) -> None:
        self._forget((pages.channel, pages.name))
        self._kept[pages.channel, pages.name] = pages, pages.files
        self._kept_files += pages.files
        while len(self._kept) > 1 and self._kept_files > _KEPT_FILES:
            self._forget(next(iter(self._kept)))

    def _forget_all(self) -> None:
        self._kept.clear()
        self._lists.clear()
        self._kept_files = 0

    def _forget(self, key: tuple[str, str]) -> None:
        _pages, files = self._kept.pop(key, (None, 0))
        self._kept_files -= files

    def _report(self, serial: int) -> None:
        with self._database.begin() as session:
            state = {"serial": serial, "seen_at": clock.now()}
            own = update(Follower).where(Follower.node == self._settings.node).values(state)
            own = own.execution_options(synchronize_session=False)
            if not session.execute(own.returning(Follower.node)).first():
                session.add(Follower(node=self._settings.node, **state))
        self._reported = time.monotonic()


def _changed(session: Session, shown: int, newest: int) -> tuple[dict[str, Serials | None], bool]:
    """What rows changed: projects by name, and whether mirrors and unions did as a whole.

    A project comes with the serials of the releases that were named; None where all of it changed.
    """
    between = (JournalRow.serial > shown) & (JournalRow.serial <= newest)
    if newest - shown > _MANY_ROWS:
        names = session.scalars(select(JournalRow.project).where(between).distinct())
        return {name: None for name in names if name}, True
    changed: dict[str, Serials | None] = {}
    is_broad = False
    columns = (JournalRow.kind, JournalRow.project, JournalRow.version, JournalRow.serial)
    for kind, project, version, serial in session.execute(
        select(*columns).where(between).order_by(JournalRow.serial)
    ):
        is_broad = is_broad or kind.startswith(BROAD)
        if project is None:
            continue
        before = changed.setdefault(project, Serials())
        if version is None or before is None:
            changed[project] = None
        else:
            changed[project] = Serials(serial, {**before.releases, version: serial})
    return changed, is_broad


def _changed_stages(session: Session, shown: int, newest: int) -> set[str]:
    """The stages that rows are about: they name no project, whose releases are what they were."""
    between = (JournalRow.serial > shown) & (JournalRow.serial <= newest)
    rows = session.scalars(select(JournalRow.body).where(between, JournalRow.kind.startswith(STAGE)))
    return {json.loads(body)["stage"] for body in rows}
