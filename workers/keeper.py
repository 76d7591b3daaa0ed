"""The keeper's process: `python -m workers.keeper`. One of several works, the others wait for its lease.

It sweeps, has SCMs told what waits for them and hooks looked at, carries rebuild waves on and ends stages.
In threads of their own it has the journal's newest rows signed, builds missing wheels by rule, looks again at
files that older rules judged and asks repositories what they hold: a signer, an upstream or an SCM that is
away or slow, or a large file, must not keep what was lost from being repaired.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from datetime import timedelta

from buildfarm import bootstrap, clock, config, log
from buildfarm.bootstrap import Farm
from buildfarm.errors import ExternalFailure, FarmError
from buildfarm.farm import archives, keeper, leases
from buildfarm.index import stages, wheel_rules
from buildfarm.scm import retention
from buildfarm.scm.answers import outbox
from buildfarm.scm.healing import Healer
from buildfarm.scm.hooking import watch
from buildfarm.trust.cover import cover
from buildfarm.waves import run as waves

_log = log.get(__name__)
#: A keeper that has not renewed its lease for so many rounds is replaced.
_LEASE_INTERVALS = 5
_TIDY_S = 60.0
#: Files that are looked at again in one round, and seconds from the end of a walk to the next.
_RECHECKED, _RECHECK_S = 20, 600.0
#: Repositories that are asked at a time.
_LOOKS_AT_ONCE = 4
#: Nobody has added to a half written blob for so long: whoever wrote it is dead.
_UNFINISHED_S = 86400.0


def main() -> int:
    """Sweep at the interval of the settings until told to stop."""
    log.configure("keeper")
    over, leading = threading.Event(), threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: over.set())
    farm = bootstrap.farm(config.load())
    holder = f"{socket.gethostname()}.{os.getpid()}"
    interval = farm.settings.timing.keeper_interval_s
    threading.Thread(target=_cover_journal, args=(farm, leading, over), daemon=True).start()
    threading.Thread(target=_build_missing_wheels, args=(farm, leading, over), daemon=True).start()
    threading.Thread(target=_recheck_files, args=(farm, leading, over), daemon=True).start()
    for _ in range(_LOOKS_AT_ONCE):
        threading.Thread(target=_heal, args=(farm, leading, over), daemon=True).start()
    tidied = -_TIDY_S
    while not over.wait(interval):
        try:
            if leases.hold(farm.database, leases.KEEPER, holder, seconds=interval * _LEASE_INTERVALS):
                leading.set()
                outbox.start_sending(farm.database)
                watch.start_looking(farm.database)
                keeper.sweep(farm.database, farm.queues, farm.settings)
                waves.advance_all(farm.database)
                stages.end_due(farm.database)
                tidied = _tidy(farm, tidied)
            else:
                leading.clear()
        except ExternalFailure as err:
            _log.warning("keeper.round_missed", code=err.code)
    with contextlib.suppress(ExternalFailure):
        leases.release(farm.database, leases.KEEPER, holder)
    return 0


def _cover_journal(farm: Farm, leading: threading.Event, over: threading.Event) -> None:
    """While this keeper leads: rows that are unsigned for too long are covered by a signed head."""
    timing = farm.settings.timing
    patience, pause = timedelta(seconds=timing.unsigned_s), timing.keeper_interval_s
    while not over.wait(pause):
        pause = timing.unsigned_s
        with _stumbling("journal.not_covered"):
            if leading.is_set() and (size := cover(farm.database, farm.signer, patience)):
                _log.info("journal.covered", size=size)
            pause = timing.keeper_interval_s


def _build_missing_wheels(farm: Farm, leading: threading.Event, over: threading.Event) -> None:
    """While this keeper leads: what the rules say of pages that changed, and now and then of all."""
    rounds = wheel_rules.Rounds(farm.wheel_rules)
    while not over.wait(farm.settings.timing.keeper_interval_s):
        with _stumbling("wheel_rules.round_missed"):
            if leading.is_set() and (started := rounds.go()):
                _log.info("wheel_rules.started", builds=started)


def _recheck_files(farm: Farm, leading: threading.Event, over: threading.Event) -> None:
    """While this keeper leads: some files in each round, until no verdict is older than the rules."""
    interval = farm.settings.timing.keeper_interval_s
    walk, pause = farm.recheck.walk(), interval
    while not over.wait(pause):
        pause, looked = interval, 0
        if not leading.is_set():
            continue
        with _stumbling("recheck.broke_off"):
            looked = len(list(itertools.islice(walk, _RECHECKED)))
        if looked:
            _log.info("recheck.looked", files=looked)
        if looked < _RECHECKED:
            walk, pause = farm.recheck.walk(), _RECHECK_S


def _heal(farm: Farm, leading: threading.Event, over: threading.Event) -> None:
    """While this keeper leads: one repository after the other is compared with what was built of it."""
    healer = Healer(farm.database, farm.settings)
    while not over.wait(farm.settings.timing.keeper_interval_s):
        with _stumbling("sweep.round_missed"):
            while leading.is_set() and not over.is_set() and healer.look():
                pass


@contextlib.contextmanager
def _stumbling(event: str) -> Iterator[None]:
    """A round of a thread, which goes on with the next one whatever stops this one.

    While the main thread renews the lease no other keeper would do what a thread that ended did.
    """
    try:
        yield
    except FarmError as err:
        _log.warning(event, code=err.code, message=err.message)
    except Exception:  # noqa: BLE001 - a full disk, no descriptor left, a fault of the farm's own
        _log.exception(event)


def _tidy(farm: Farm, last: float) -> float:
    """Once in a while: end upload sessions that are over, drop what is old or not needed; when that was."""
    if time.monotonic() - last < _TIDY_S:
        return last
    if ended := farm.sessions.expire():
        _log.info("keeper.sessions_ended", count=ended)
    if dropped := archives.drop_unused(farm.database, farm.blobs):
        _log.info("keeper.archives_dropped", count=dropped)
    if any(gone := retention.drop_old(farm.database, farm.settings.ledger, clock.now())):
        _log.info("keeper.deliveries_dropped", bodies=gone[0], rows=gone[1])
    if settled := outbox.tidy(farm.database):
        _log.info("keeper.answers_settled", count=settled)
    farm.blobs.drop_unfinished(_UNFINISHED_S)
    return time.monotonic()


if __name__ == "__main__":
    sys.exit(main())
