"""Upstream project pages: asked when they are old, kept in SQL, served stale while upstream is away."""

from __future__ import annotations

import fcntl
import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as TookTooLong
from contextlib import contextmanager
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import defer

from buildfarm import clock, log
from buildfarm.config import Settings
from buildfarm.db.engine import Database
from buildfarm.errors import Conflict, ExternalFailure, IntegrityFailure
from buildfarm.mirror.client import Client, Fetched, Root
from buildfarm.mirror.model import UpstreamFile, UpstreamPage
from buildfarm.mirror.page import MirrorPage, PageContent, is_json, parse
from buildfarm.mirror.rules import confirmed, is_older, joined, merged

#: How long an index that failed is left alone where a stale page can be shown instead, seconds.
_RETRY_S = 10.0
#: How long an index is believed that it has no such project, seconds.
_UNKNOWN_S = 60.0
_UNKNOWN_NAMES = 10_000
_CONTENTS = 64
_log = log.get(__name__)


class Pages:
    """The pages of the upstream indexes, in order; the first that knows a name owns it from then on."""

    def __init__(
        self, database: Database, client: Client, roots: tuple[Root, ...], settings: Settings
    ) -> None:
        self._database, self._client, self._settings = database, client, settings
        self._roots = roots
        self._lock = threading.Lock()
        self._asked: dict[str, Future[MirrorPage | None]] = {}
        self._unknown: OrderedDict[str, float] = OrderedDict()
        #: The last pages that were unpacked, by name and change.
        self._contents: OrderedDict[tuple[str, datetime], PageContent] = OrderedDict()
        self._away_until = dict.fromkeys((root.url for root in roots), 0.0)

    def page(self, name: str) -> MirrorPage | None:
        """The project, at most `mirror.fresh_s` old if upstream can be asked; None when it has none.

        Raises:
            ExternalFailure: nothing is known of the project and upstream is away.
        """
        known = self.stored(name)
        if not self._roots:
            return known
        if known and known.checked_at > clock.now() - timedelta(seconds=self._settings.mirror.fresh_s):
            return known
        if known is None:
            with self._lock:
                if self._unknown.get(name, 0.0) > time.monotonic():
                    return None
            return self._answer(name, self._patience_s)
        if self._away_until.get(known.upstream, 0.0) > time.monotonic():
            return known
        try:
            return self._answer(name, self._settings.mirror.stale_wait_s)
        except ExternalFailure as err:
            _log.warning("mirror.stale", project=name, upstream=known.upstream, reason=err.message)
            return self.stored(name)

    def refresh(self, name: str) -> MirrorPage | None:
        """Ask upstream now, however fresh the page is.

        Raises:
            Conflict: `mirror.isolated`, there is none to ask.
            ExternalFailure: upstream is away, or answers nonsense.
        """
        if not self._roots:
            raise Conflict("This site is isolated: no upstream is asked.", code="mirror.isolated")
        with self._lock:
            self._unknown.pop(name, None)
        return self._answer(name, self._patience_s, force=True)

    def stored(self, name: str) -> MirrorPage | None:
        """The project as it was last confirmed, without asking anybody."""
        with self._database.read() as session:
            row = session.get(UpstreamPage, name, options=[defer(UpstreamPage.content)])
            if row is None:
                return None
            with self._lock:
                content = self._contents.get((name, row.changed_at))
            if content is None:
                content = PageContent.from_json(row.content)
                with self._lock:
                    self._contents[name, row.changed_at] = content
                    while len(self._contents) > _CONTENTS:
                        self._contents.popitem(last=False)
            return _page(row, content)

    def take_in(self, carried: MirrorPage, *, is_json: bool) -> bool:
        """Add what a bundle says of a project; whether that changes anything.

        Files that were known stay. Where both know one, whoever looked at upstream later is right.

        Raises:
            Conflict: `mirror.owner`, the name is of another index here.
            IntegrityFailure: `mirror.digest_changed`, a file is known here by another digest.
        """
        with self._only_one(carried.name):
            row = self._row(carried.name)
            if row and row.upstream != carried.upstream:
                raise Conflict(
                    f"{carried.name} is of {row.upstream} here, and of {carried.upstream} in the bundle.",
                    code="mirror.owner",
                )
            before = PageContent.from_json(row.content) if row else None
            is_newer = row is None or row.checked_at <= carried.checked_at
            content = joined(before, carried.content, prefer_carried=is_newer)
            _demand_same_digests(carried.content, content, self._first_sights(carried.name))
            if content == before:
                return False
            with self._database.begin() as session:
                row = session.get(UpstreamPage, carried.name)
                if row is None:
                    row = UpstreamPage(project=carried.name, upstream=carried.upstream, version=0)
                row.version, row.content, row.changed_at = row.version + 1, content.to_json(), clock.now()
                row.etag = None  # upstream said it of a page of its own
                if is_newer:
                    row.is_json, row.serial = is_json, carried.serial
                    row.fetched_at, row.checked_at = carried.fetched_at, carried.checked_at
                session.add(row)
        with self._lock:
            self._unknown.pop(carried.name, None)
        return True

    def every(self) -> Iterator[MirrorPage]:
        """All projects that upstream was ever asked for and had, by name."""
        with self._database.read() as session:
            names = list(session.scalars(select(UpstreamPage.project).order_by(UpstreamPage.project)))
        for name in names:
            if page := self.stored(name):
                yield page

    @property
    def _patience_s(self) -> float:
        # Longer than every limit of the client but one: headers that drip.
        return 4 * self._settings.mirror.timeout_s

    def _answer(self, name: str, seconds: float, *, force: bool = False) -> MirrorPage | None:
        """Wait for upstream's answer, which many may await; it goes on when nobody waits any more."""
        with self._lock:
            future = self._asked.get(name)
            if future is None:
                future = self._asked[name] = Future()
                work = threading.Thread(target=self._work, args=(name, future, force), daemon=True)
                work.start()
        try:
            return future.result(seconds)
        except TookTooLong:
            raise ExternalFailure(
                f"The upstream index takes too long over {name}.", code="mirror.unreachable"
            ) from None

    def _work(self, name: str, future: Future[MirrorPage | None], force: bool) -> None:
        try:
            with self._only_one(name):
                page = self._ask(name, force)
        except BaseException as err:  # noqa: BLE001 - it is raised where somebody waits
            self._asked.pop(name)
            future.set_exception(err)
        else:
            self._asked.pop(name)  # first, so that whoever asks from now on asks anew
            future.set_result(page)

    @contextmanager
    def _only_one(self, name: str) -> Iterator[None]:
        """One question for a name at a time, over all processes of this host."""
        folder = self._settings.mirror_dir / "asking"
        folder.mkdir(parents=True, exist_ok=True)
        slot = hashlib.sha256(name.encode()).hexdigest()[:2]
        with (folder / slot).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _ask(self, name: str, force: bool) -> MirrorPage | None:
        row = self._row(name)
        fresh_since = clock.now() - timedelta(seconds=self._settings.mirror.fresh_s)
        if row and row.checked_at > fresh_since and not force:
            return _page(row)  # another process asked while this one waited for its turn
        for root in self._owners(row):
            own = row if row and row.upstream == root.url else None
            fetched = self._fetch(root, name, own.etag if own else None)
            if fetched or own:
                return self._keep(name, root, own, fetched)
        with self._lock:
            self._unknown[name] = time.monotonic() + _UNKNOWN_S
            while len(self._unknown) > _UNKNOWN_NAMES:
                self._unknown.popitem(last=False)
        return None

    def _owners(self, row: UpstreamPage | None) -> tuple[Root, ...]:
        """Who may answer for a name: its first owner alone, as long as the settings name that index."""
        return tuple(root for root in self._roots if row and root.url == row.upstream) or self._roots

    def _fetch(self, root: Root, name: str, etag: str | None) -> Fetched | None:
        try:
            fetched = self._client.page(root, name, etag)
        except ExternalFailure:
            self._away_until[root.url] = time.monotonic() + _RETRY_S
            raise
        self._away_until[root.url] = 0.0
        return fetched

    def _keep(self, name: str, root: Root, own: UpstreamPage | None, fetched: Fetched | None) -> MirrorPage:
        """Store what upstream said: a page, "not changed", or (None) that it has the project no more."""
        if own and fetched and is_older(own.serial, fetched.serial):
            raise ExternalFailure(
                "The upstream index shows an older page than before.", code="mirror.older_page"
            )
        now = clock.now()
        before = PageContent.from_json(own.content) if own else None
        if before and fetched and fetched.body is None:
            content = confirmed(before, now)
        else:
            fresh = _parsed(own, fetched) if fetched else PageContent({})
            content = merged(before, fresh, self._first_sights(name), now)
        _alarm(name, before, content)
        with self._database.begin() as session:
            row = session.get(UpstreamPage, name)
            if row is None:
                row = UpstreamPage(project=name, version=0, is_json=False)
            if content != before:
                row.version, row.content, row.changed_at = row.version + 1, content.to_json(), now
            row.upstream, row.checked_at = root.url, now
            if fetched is None or fetched.body is not None:
                row.fetched_at = now
                row.etag = fetched.etag if fetched else None
            if fetched and fetched.body is not None:
                row.is_json = is_json(fetched.content_type)
            if own is None or (fetched and fetched.serial is not None):
                row.serial = fetched.serial if fetched else None
            session.add(row)
        return _page(row, content)

    def _first_sights(self, name: str) -> dict[str, str]:
        seen = select(UpstreamFile.filename, UpstreamFile.sha256).where(UpstreamFile.project == name)
        with self._database.read() as session:
            return {row.filename: row.sha256 for row in session.execute(seen)}

    def _row(self, name: str) -> UpstreamPage | None:
        with self._database.read() as session:
            return session.get(UpstreamPage, name)


def _parsed(own: UpstreamPage | None, fetched: Fetched) -> PageContent:
    if own and own.is_json and not is_json(fetched.content_type):
        # A log-in page of the network in between looks like this, and like an empty project.
        raise ExternalFailure(
            "The upstream index spoke JSON and now does not.", code="mirror.page_unreadable"
        )
    return parse(fetched.body or b"", fetched.content_type, fetched.base)


def _demand_same_digests(carried: PageContent, joined: PageContent, first_sights: dict[str, str]) -> None:
    for filename, file in carried.files.items():
        known = {joined.files[filename].sha256, first_sights.get(filename)} - {None, file.sha256}
        if known:
            raise IntegrityFailure(
                f"{filename} is known here by another digest than the bundle's.",
                code="mirror.digest_changed",
            )


def _alarm(name: str, before: PageContent | None, content: PageContent) -> None:
    old = before.files if before else {}
    for filename, file in content.files.items():
        if file.changed_to and (filename not in old or old[filename].changed_to != file.changed_to):
            _log.error("mirror.digest_changed", project=name, filename=filename, sha256=file.changed_to)


def _page(row: UpstreamPage, content: PageContent | None = None) -> MirrorPage:
    return MirrorPage(
        name=row.project,
        upstream=row.upstream,
        version=row.version,
        serial=row.serial,
        content=content or PageContent.from_json(row.content),
        fetched_at=row.fetched_at,
        checked_at=row.checked_at,
    )
