"""What a web process does besides answering: it says that it is there, and notes which tokens were used."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from flask import Flask

from buildfarm import log
from buildfarm.access import tokens
from buildfarm.access.verdicts import Verdicts
from buildfarm.bootstrap import Farm
from buildfarm.errors import ExternalFailure
from buildfarm.farm import leases

_log = log.get(__name__)
#: A node whose processes were all quiet for so many rounds has been away.
_MISSED_ROUNDS = 3
#: How often the use of tokens is written down, in seconds; reads never wait for it.
_NOTE_USED_S = 60.0


class Upkeep:
    """A thread of each web process, from its first request on: a fork takes no thread along.

    Args:
        farm: its node's lease is renewed once in each `timing.heartbeat_s`.
        verdicts: tell which tokens were used.
    """

    def __init__(
        self, farm: Farm, verdicts: Verdicts, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._farm, self._verdicts, self._monotonic = farm, verdicts, monotonic
        self._next_note = monotonic()
        self._begun = threading.Lock()

    def install(self, app: Flask) -> None:
        """Begin with the application's first request."""
        app.before_request(self._begin)

    def round(self) -> None:
        """Say that this node answers; once in a minute, note which tokens were used.

        Raises:
            ExternalFailure: the database is away.
        """
        node, interval = self._farm.settings.node, self._farm.settings.timing.heartbeat_s
        leases.hold(self._farm.database, leases.web_of(node), node, interval * _MISSED_ROUNDS)
        if self._monotonic() >= self._next_note and (used := self._verdicts.take_used()):
            self._next_note = self._monotonic() + _NOTE_USED_S
            with self._farm.database.begin() as session:
                tokens.note_used(session, used)

    def _begin(self) -> None:
        if self._begun.acquire(blocking=False):
            threading.Thread(target=self._run, name="upkeep", daemon=True).start()

    def _run(self) -> None:
        pause = threading.Event()
        while True:
            try:
                self.round()
            except ExternalFailure as err:
                _log.warning("web.upkeep_missed", code=err.code)
            pause.wait(self._farm.settings.timing.heartbeat_s)
