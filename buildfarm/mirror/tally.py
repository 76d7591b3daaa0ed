"""Counts that need no row of their own per request: gathered in memory, written to SQL every two seconds.

What a process that is killed had not yet written is lost: nobody decides anything by these figures.
"""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import update

from buildfarm import clock, log
from buildfarm.db.engine import Database
from buildfarm.errors import ExternalFailure
from buildfarm.mirror.model import GuardEvent, RegistryFile, UpstreamFile, UpstreamHealth

_PAUSE_S = 2.0
_log = log.get(__name__)


@dataclass
class _Gathered:
    events: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    sentences: dict[tuple[str, str, str], str] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    answers: Counter[tuple[str, str]] = field(default_factory=Counter)
    health: dict[str, tuple[datetime, str | None]] = field(default_factory=dict)


class Tally:
    """One for each process; may be shared by threads."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._gathered = _Gathered()
        self._timer: threading.Timer | None = None

    def guarded(self, channel: str, project: str, rule: str, sentence: str) -> None:
        """A request that the guard did not let through to, or from, an upstream."""
        with self._lock:
            self._gathered.events[channel, project, rule] += 1
            self._gathered.sentences[channel, project, rule] = sentence
            self._write_soon()

    def used(self, filename: str) -> None:
        """Somebody took a file that is kept here."""
        with self._lock:
            self._gathered.used.add(filename)
            self._write_soon()

    def asked(self, upstream: str, what: str, failure: str | None = None) -> None:
        """An upstream was asked for a `page` or `file`; `failure` says why in vain."""
        with self._lock:
            self._gathered.answers[upstream, "failure" if failure else what] += 1
            self._gathered.health[upstream] = (clock.now(), failure)
            self._write_soon()

    def write(self) -> None:
        """Write what was gathered."""
        with self._lock:
            gathered, self._gathered, self._timer = self._gathered, _Gathered(), None
        try:
            self._write(gathered)
        except ExternalFailure as err:
            _log.warning("mirror.tally_lost", code=err.code)

    def _write_soon(self) -> None:
        if self._timer is None:
            self._timer = threading.Timer(_PAUSE_S, self.write)
            self._timer.daemon = True
            self._timer.start()

    def _write(self, gathered: _Gathered) -> None:
        now = clock.now()
        with self._database.begin() as session:
            for key, count in sorted(gathered.events.items()):
                event = session.get(GuardEvent, key, with_for_update=True)
                if event is None:
                    channel, project, rule = key
                    event = GuardEvent(channel=channel, project=project, rule=rule, count=0, first_at=now)
                    session.add(event)
                event.count, event.last_at, event.sentence = event.count + count, now, gathered.sentences[key]
            for upstream, (at, failure) in sorted(gathered.health.items()):
                row = session.get(UpstreamHealth, upstream, with_for_update=True)
                if row is None:
                    row = UpstreamHealth(upstream=upstream, pages=0, files=0, failures=0)
                    session.add(row)
                row.pages += gathered.answers[upstream, "page"]
                row.files += gathered.answers[upstream, "file"]
                row.failures += gathered.answers[upstream, "failure"]
                if failure:
                    row.failed_at, row.failure = at, failure
                else:
                    row.answered_at = at
            if gathered.used:
                for kind in (UpstreamFile, RegistryFile):
                    used = kind.filename.in_(gathered.used)
                    session.execute(update(kind).where(used).values(last_used_at=now))
