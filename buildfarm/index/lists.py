"""What a channel says of all its projects: the root list, and the feeds of what is new."""

from __future__ import annotations

import gzip
import json
import math
import time
from collections.abc import Collection
from itertools import islice
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from buildfarm.index.feeds import Item, feed
from buildfarm.index.model import ChannelEntry, File, Project, Release
from buildfarm.index.pagefacts import PageRelease, list_serial
from buildfarm.index.pagetree import ROOT, PageTree
from buildfarm.index.projectpages import Site
from buildfarm.index.render import root_forms
from buildfarm.index.runs import Runs, ends_run
from buildfarm.journal.model import JournalRow

#: How long what is dear to write may wait for more changes, seconds.
PATIENCE_S = 1.0
#: CPU seconds from which on a list is dear.
_DEAR_S = 0.02
#: One name of so many ends a run.
_SPAN = 1024
_RELEASES, _PROJECTS = 100, 40
#: Of the files and projects that came last, those that are looked at for a feed.
_LOOKED_AT = 300


class ChannelLists:
    """The lists of one channel: changes are noted at once, written when they are due."""

    def __init__(self, session: Session, site: Site, channel: str, *, anew: bool = False) -> None:
        self._site, self._channel = site, channel
        tree = self._tree = site.tree
        names = set(tree.names(channel))
        shown, self._serial = _shown(tree, channel)
        self._is_behind = anew or shown != names
        if self._is_behind:
            self._serial = list_serial(session, channel)
        self._names: Runs[str] = Runs(names, key=str, ends=lambda name: ends_run(name, _SPAN))
        self._has_news = True
        self._list_after = self._feeds_after = 0.0

    def note(self, name: str, serial: int, releases: Collection[PageRelease] | Runs[PageRelease]) -> None:
        """A project was rendered, or taken away (without releases); `serial` is that of its page."""
        is_listed = self._names.get(name) is not None
        if not (is_listed or releases):
            return  # it was not in this channel, and is not
        self._has_news = True
        if is_listed != bool(releases):
            self._names.change([name], [name] if releases else [])
            self._is_behind = True
            self._serial = max(self._serial, min((one.since for one in releases), default=serial))

    @property
    def due_in_s(self) -> float:
        """Seconds until something that waits may be written, none left at 0; infinity when nothing waits."""
        waiting = [(self._is_behind, self._list_after), (self._has_news, self._feeds_after)]
        return min((after for waits, after in waiting if waits), default=math.inf) - time.monotonic()

    def warm(self) -> None:
        """Have the runs of the list ready, so that a change costs one."""
        root_forms(self._names, serial=self._serial, namespaces=self._site.namespaces)

    def write(self, session: Session) -> None:
        """Write what is due."""
        now = time.monotonic()
        if self._is_behind and now >= self._list_after:
            started = time.thread_time()
            has_namespaces = self._site.namespaces
            forms = root_forms(self._names, serial=self._serial, namespaces=has_namespaces)
            self._tree.put_page(self._channel, ROOT, forms, self._serial, namespaces=has_namespaces)
            self._is_behind = False
            if time.thread_time() - started > _DEAR_S:
                self._list_after = now + PATIENCE_S
        if self._has_news and now >= self._feeds_after:
            self._write_feeds(session)
            self._has_news, self._feeds_after = False, now + PATIENCE_S

    def _write_feeds(self, session: Session) -> None:
        site, channel = f"{self._site.public_url}/projects", self._channel
        where = f"{self._site.public_url}/{channel}/"
        feeds = {
            "updates": (f"New releases in {channel}", _new_releases(session, channel, site)),
            "packages": (f"New projects in {channel}", self._new_projects(session, site)),
        }
        for name, (title, items) in feeds.items():
            serial = max((serial for serial, _item in items), default=0)
            body = feed(title, where, [item for _serial, item in items])
            self._tree.put(f"{channel}/rss/{name}.xml.gz", body, 8 * serial)

    def _new_projects(self, session: Session, site: str) -> list[tuple[int, Item]]:
        rows = session.execute(
            select(Project.name, Project.local_since, JournalRow.at)
            .join(JournalRow, JournalRow.serial == Project.local_since)
            .order_by(Project.local_since.desc())
            .limit(_LOOKED_AT)
        )
        listed = islice((row for row in rows if self._names.get(row.name) is not None), _PROJECTS)
        return [(row.local_since, Item(row.name, f"{site}/{row.name}", "", row.at)) for row in listed]


def _new_releases(session: Session, channel: str, site: str) -> list[tuple[int, Item]]:
    rows = session.execute(
        select(ChannelEntry.since, Release.project, Release.version, Release.summary, JournalRow.at)
        .join(File, File.filename == ChannelEntry.filename)
        .join(Release, Release.id == File.release_id)
        .join(JournalRow, JournalRow.serial == ChannelEntry.since)
        .where(ChannelEntry.channel == channel, ChannelEntry.until.is_(None), File.withdrawn_at.is_(None))
        .order_by(ChannelEntry.since.desc(), ChannelEntry.filename.desc())
        .limit(_LOOKED_AT)
    )
    items: dict[tuple[str, str], tuple[int, Item]] = {}
    for serial, project, version, summary, at in rows:
        if (project, version) not in items:
            item = Item(f"{project} {version}", f"{site}/{project}/{version}", summary or "", at)
            items[project, version] = serial, item
        if len(items) == _RELEASES:
            break
    return list(items.values())


def _shown(tree: PageTree, channel: str) -> tuple[set[str] | None, int]:
    """The names in the list that is there, and its serial; None and 0 where none is."""
    page = tree.find(f"{channel}/simple/{ROOT}.json.gz")
    if page is None:
        return None, 0
    told = json.loads(gzip.decompress(Path(page.path).read_bytes()))
    return {project["name"] for project in told["projects"]}, page.serial
