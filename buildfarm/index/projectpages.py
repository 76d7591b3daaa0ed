"""One project in one channel: its releases in runs, and everything that the page tree shows of it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from heapq import nlargest
from pathlib import Path

from packaging.version import Version
from sqlalchemy.orm import Session

from buildfarm import log
from buildfarm.config import Settings
from buildfarm.errors import NotFound
from buildfarm.index import pagefacts
from buildfarm.index.feeds import Item, feed
from buildfarm.index.jsonapi import JsonRendering
from buildfarm.index.pagefacts import PageFile, PageRelease, Serials
from buildfarm.index.pagetree import PageTree, page_time
from buildfarm.index.render import Marking, ProjectRendering
from buildfarm.index.runs import Runs, ends_run
from buildfarm.storage.blobs import Blobs

#: One file of so many ends a run.
_SPAN = 64
_FEED = 40
_log = log.get(__name__)


@dataclass(frozen=True)
class Site:
    """Where pages are written, what they point at, the URL that clients type.

    `namespaces`: whether pages tell those of a project (Simple API 1.5).
    """

    tree: PageTree
    blobs: Blobs
    public_url: str
    namespaces: bool

    @classmethod
    def of(cls, tree: PageTree, blobs: Blobs, settings: Settings) -> Site:
        """As the settings have it."""
        return cls(tree, blobs, settings.public_url, settings.index.namespaces)


class ProjectPages:
    """What a channel shows of a project, and how it gets there; kept, it makes the next change cheap."""

    def __init__(self, site: Site, channel: str, name: str, releases: Collection[PageRelease]) -> None:
        self.channel, self.name = channel, name
        #: How many files: what keeping this costs.
        self.files = sum(len(release.files) for release in releases)
        self.releases = Runs(releases, key=_order, ends=_ends)
        self._latest = Latest(releases)
        self._site = site
        root = f"{site.public_url}/{channel}"
        self._simple = ProjectRendering(name, f"{root}/files/{name}")
        self._json = JsonRendering(name, root, self._read)

    def write(self, serials: Serials, marking: Marking, *, anew: bool) -> None:
        """Bring the tree to what the releases say; `anew`: what is there already counts for nothing."""
        links = dict(self.links(self.releases))
        versions = {release.version for release in self.releases}
        self._write(self.releases, links, serials, marking, anew=anew)
        self._sweep(f"{self.channel}/files/{self.name}", links)
        self._sweep(f"{self.channel}/pypi/{self.name}", {*versions, "json.gz"})

    def change(
        self, versions: Collection[str], releases: Collection[PageRelease], serials: Serials, marking: Marking
    ) -> None:
        """Some releases (canonical versions) are these now, the others as they were."""
        keys = {Version(version) for version in versions}
        old = [release for key in keys if (release := self.releases.get(key))]
        self.releases.change(old, releases)
        self._latest.change(old, releases, self.releases)
        self.files += sum(len(one.files) for one in releases) - sum(len(one.files) for one in old)
        links = dict(self.links(releases))
        self._write(releases, links, serials, marking, anew=True)
        for path in dict(self.links(old)).keys() - links.keys():
            self._site.tree.drop(f"{self.channel}/files/{self.name}/{path}")
        for version in {one.version for one in old} - {one.version for one in releases}:
            self._site.tree.drop(f"{self.channel}/pypi/{self.name}/{version}")

    def _write(
        self,
        releases: Collection[PageRelease] | Runs[PageRelease],
        links: Mapping[str, Path],
        serials: Serials,
        marking: Marking,
        *,
        anew: bool,
    ) -> None:
        tree, channel, name = self._site.tree, self.channel, self.name
        for path, target in links.items():
            tree.link(f"{channel}/files/{name}/{path}", target)
        for release in releases:
            serial = serials.of(release.version)
            place = self._place(release)
            there = None if anew else tree.find(place)
            if there is None or there.mtime != 8 * serial:
                tree.put(place, self._json.release(release, serial), 8 * serial)
        for path, data, mtime in self.documents(marking):
            tree.put(path, data, mtime)

    def documents(self, marking: Marking) -> Iterator[tuple[str, bytes, int]]:
        """Everything that is about the project as a whole: path, bytes, time."""
        serial = marking.serial
        for form, data in self._simple.forms(self.releases, marking).items():
            moment = page_time(serial, form, namespaces=self._site.namespaces)
            yield f"{self.channel}/simple/{self.name}.{form}", data, moment
        yield (
            f"{self.channel}/pypi/{self.name}/json.gz",
            self._json.project(self.releases, serial),
            8 * serial,
        )
        yield f"{self.channel}/rss/project/{self.name}.xml.gz", self._feed(), 8 * serial

    def release_documents(self, serials: Serials) -> Iterator[tuple[str, bytes, int]]:
        """What is about each release: path, bytes, time."""
        for release in self.releases:
            serial = serials.of(release.version)
            yield self._place(release), self._json.release(release, serial), 8 * serial

    def _place(self, release: PageRelease) -> str:
        return f"{self.channel}/pypi/{self.name}/{release.version}/json.gz"

    def _feed(self) -> bytes:
        page = f"{self._site.public_url}/projects/{self.name}"
        return feed(
            f"Releases of {self.name} in {self.channel}", page,
            [
                Item(one.version, f"{page}/{one.version}", one.summary or "", one.created_at)
                for one in self._latest.releases
            ],
        )  # fmt: skip

    def links(self, releases: Collection[PageRelease] | Runs[PageRelease]) -> Iterator[tuple[str, Path]]:
        """What stands in the project's folder: the bytes of each file, and what belongs to them."""
        for release in releases:
            for file in release.files:
                for suffix, digest in _sides(file):
                    try:
                        yield file.filename + suffix, self._site.blobs.path(digest).absolute()
                    except NotFound:
                        # One lost file must not keep every later change from being shown.
                        _log.error("pages.blob_missing", filename=file.filename + suffix, sha256=digest)

    def _read(self, sha256: str) -> bytes | None:
        try:
            return self._site.blobs.read(sha256)
        except NotFound:
            return None

    def _sweep(self, folder: str, wanted: Collection[str]) -> None:
        for name in self._site.tree.listing(folder) - set(wanted):
            self._site.tree.drop(f"{folder}/{name}")


class Latest:
    """The releases made last, the newest first; looks at all only when one of these goes."""

    def __init__(self, every: Iterable[PageRelease]) -> None:
        self.releases = nlargest(_FEED, every, key=_age)

    def change(
        self, old: Collection[PageRelease], new: Iterable[PageRelease], every: Iterable[PageRelease]
    ) -> None:
        """Of `every` release now, `new` were not there before; `old` are there no more."""
        before = self.releases
        left = [*(one for one in before if one not in old), *new]
        if len(before) == _FEED:
            # Those that are not known here are all older than these.
            left = [one for one in left if _age(one) >= _age(before[-1])]
            if len(left) < _FEED:
                left = list(every)
        self.releases = nlargest(_FEED, left, key=_age)


def render_part(session: Session, site: Site, part: str, name: str, *, into: str) -> None:
    """Render what the durable channel `part` has of a project as the page of a channel that joins it."""
    for project in pagefacts.projects(session, [name], namespaces=site.namespaces):
        pages = ProjectPages(site, into, name, project.shown_in(part))
        pages.write(project.serials, Marking.of(project), anew=True)


def _sides(file: PageFile) -> Iterator[tuple[str, str]]:
    yield "", file.sha256
    if file.metadata_sha256 and file.filename.endswith(".whl"):
        yield ".metadata", file.metadata_sha256
    if file.provenance_sha256:
        yield ".provenance", file.provenance_sha256
    if file.bundle_sha256:
        yield ".sigstore.json", file.bundle_sha256
    if file.reproduced_sha256:
        yield ".reproduced.jsonl", file.reproduced_sha256


@lru_cache(maxsize=100_000)
def _parsed(version: str) -> Version:
    return Version(version)


def _order(release: PageRelease) -> Version:
    return _parsed(release.version)


def _age(release: PageRelease) -> tuple[datetime, Version]:
    return release.created_at, _order(release)


def _ends(release: PageRelease) -> bool:
    return any(ends_run(file.filename, _SPAN) for file in release.files)
