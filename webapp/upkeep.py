"""What a web process does besides answering: it says that it is there."""

from __future__ import annotations

import threading

from flask import Flask

from buildfarm import log
from buildfarm.bootstrap import Farm
from buildfarm.errors import ExternalFailure
from buildfarm.farm import leases

_log = log.get(__name__)
#: A node whose processes were all quiet for so many rounds has been away.
_MISSED_ROUNDS = 3


class Upkeep:
    """A thread of each web process, from its first request on: a fork takes no thread along.

    Args:
        farm: its node's lease is renewed once in each `timing.heartbeat_s`.
    """

    def __init__(self, farm: Farm) -> None:
        self._farm = farm
        self._begun = threading.Lock()

    def install(self, app: Flask) -> None:
        """Begin with the application's first request."""
        app.before_request(self._begin)

    def round(self) -> None:
        """Say that this node answers."""
        node, interval = self._farm.settings.node, self._farm.settings.timing.heartbeat_s
        leases.hold(self._farm.database, leases.web_of(node), node, interval * _MISSED_ROUNDS)

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
