"""The page follower's process: `python -m webapp.follower`, one for each web host."""

from __future__ import annotations

import signal
import sys
import threading
import time

from buildfarm import bootstrap, config, log
from buildfarm.errors import FarmError
from buildfarm.index.follow import PageFollower
from buildfarm.index.pagetree import PageTree
from buildfarm.journal.bell import Listener

#: How long a change may stay unseen when the bell was not heard: on a database of this host alone the bell
#: is for every change, so this is for the day when it is broken; others' hosts do not ring it.
_LOOK_S, _LOOK_FAR_S = 1.0, 0.1
#: How often what is old is taken out of mirror and union channels, seconds at most.
_SWEEP_S = 30.0
_log = log.get(__name__)


def main() -> int:
    """Keep this host's pages in step with the journal until told to stop."""
    log.configure("pages")
    farm = bootstrap.farm(config.load())
    over = threading.Event()
    listener = Listener(farm.settings.bell)

    def end(*_: object) -> None:
        over.set()
        farm.bell.ring()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    follower = PageFollower(farm.database, farm.blobs, PageTree(farm.settings.pages_dir), farm.settings)
    pause_s = min(farm.settings.mirror.fresh_s / 20, _SWEEP_S)
    swept = time.monotonic()
    look_s = _LOOK_FAR_S if farm.database.spans_hosts else _LOOK_S
    warming, is_cold = follower.warm(), True
    while not over.is_set():
        try:
            listener.tell(follower.catch_up())
            is_cold = is_cold and next(warming, False)
            if time.monotonic() > swept + pause_s:
                farm.mirrored.sweep()
                farm.mirrored.make_room()
                swept = time.monotonic()
        except FarmError as err:
            # Serving goes on from the pages there are; what is missing is rendered when it can be.
            _log.warning("pages.behind", code=err.code, message=err.message)
            over.wait(1.0)
        listener.wait(0.0 if is_cold else min(look_s, follower.due_in_s))
    return 0


if __name__ == "__main__":
    sys.exit(main())
