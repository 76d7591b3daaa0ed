"""What is visible: writers wait until every live node shows their change, nodes say whether they do.

The serial that a node shows stands in its follower row. On this host the bell tells when it has changed;
for the nodes of others, and for a bell that nobody hears, the rows are looked at.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import func, select

from buildfarm import clock
from buildfarm.db.engine import Database
from buildfarm.index.model import Follower
from buildfarm.journal.bell import Bell
from buildfarm.journal.record import size as journal_size

#: A node that has not reported for so long is gone; nobody waits for it.
GONE = timedelta(seconds=10)
#: A node that reported so lately is rendering what it does not show yet.
_RENDERING = timedelta(seconds=5)
#: The rows are looked at this often where the bell says nothing, and after so long at the latest, seconds.
_POLL_S, _LOOK_S = 0.02, 0.25


@dataclass(frozen=True)
class Visibility:
    """May be shared by threads."""

    database: Database
    bell: Bell
    #: How long a writer waits, seconds.
    patience_s: float

    def wait(self, serial: int) -> bool:
        """Wait until every live node shows the serial; False when one still lags behind."""
        deadline = time.monotonic() + self.patience_s
        while True:
            began = time.monotonic()
            self.bell.await_shown(serial, min(_LOOK_S, deadline - began))
            if self._is_shown(serial):
                return True
            now = time.monotonic()
            if now > deadline:
                return False
            time.sleep(max(0.0, began + _POLL_S - now))

    def _is_shown(self, serial: int) -> bool:
        lags = (Follower.seen_at > clock.now() - GONE) & (Follower.serial < serial)
        with self.database.read() as session:
            return not session.execute(select(func.count()).where(lags)).scalar_one()

    def is_current(self, node: str) -> bool:
        """Whether this node's pages show the journal, or did a moment ago and are being rendered."""
        with self.database.read() as session:
            row = session.get(Follower, node)
            newest = journal_size(session)
        return row is not None and (row.serial == newest or row.seen_at > clock.now() - _RENDERING)
