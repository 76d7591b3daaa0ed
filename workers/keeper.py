"""The keeper's process: `python -m workers.keeper`. One of several works, the others wait for its lease."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import threading

from buildfarm import bootstrap, config, log
from buildfarm.errors import ExternalFailure
from buildfarm.farm import keeper, leases

_log = log.get(__name__)
#: A keeper that has not renewed its lease for so many rounds is replaced.
_LEASE_INTERVALS = 5


def main() -> int:
    """Sweep at the interval of the settings until told to stop."""
    log.configure("keeper")
    over = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: over.set())
    farm = bootstrap.farm(config.load())
    holder = f"{socket.gethostname()}.{os.getpid()}"
    interval = farm.settings.timing.keeper_interval_s
    while not over.wait(interval):
        try:
            if leases.hold(farm.database, leases.KEEPER, holder, seconds=interval * _LEASE_INTERVALS):
                keeper.sweep(farm.database, farm.queues, farm.settings)
        except ExternalFailure as err:
            _log.warning("keeper.round_missed", code=err.code)
    with contextlib.suppress(ExternalFailure):
        leases.release(farm.database, leases.KEEPER, holder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
