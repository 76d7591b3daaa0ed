"""The builder's process: `python -m workers.builder`, one for each attempt that may run at a time."""

from __future__ import annotations

import sys
import threading
import time

from buildfarm import log
from buildfarm.errors import EnvironmentProblem, FarmError
from buildfarm.farm.wire import RUN_BUILD
from buildfarm.sandbox.emulation import emulators
from buildfarm.sandbox.images import Finding, check_engine, engine_memory
from buildfarm.sandbox.janitor import reap, start_janitor, sweep
from buildfarm.sandbox.precompile import compile_noted
from buildfarm.sandbox.prestart import forget, refill
from workers import builder_config, builds
from workers.builder_config import BuilderConfig
from workers.farm_client import FarmClient, Orders
from workers.selftest import examine
from workers.supply import Supply
from workers.worker import run_worker

_log = log.get(__name__)
_PAUSE_S = 5.0
#: A host that was found fit is tested again after so many seconds.
_TEST_S = 30.0
#: Characters of what a finding says that the farm takes.
_LONGEST = 1000


class Presence:
    """Says from time to time that this builder is there, in which the farm's answer sets the pace.

    Attempts beat for themselves; this is for a builder that has none, or no engine. It says what its
    self-test found, and the farm in turn whether to look for work: not while that is paused, this builder
    drained or unfit.
    """

    def __init__(self, own: BuilderConfig) -> None:
        self._own = own
        self._farm = FarmClient(own.farm_url, own.token)
        self._supply = Supply(own, self._farm, on_over=self.hasten)
        self._findings: list[Finding] | None = None
        self._images: tuple[str, ...] = ()
        self._memory: int | None = None
        self._tested = 0.0
        self._queues: tuple[str, ...] = ()
        self._due = 0.0

    def hasten(self) -> None:
        """Say it the next time anyway: something has happened."""
        self._due = 0.0

    def tell(self) -> tuple[str, ...]:
        """Say it, if it is time to; the queues to look into for work, as the farm said last."""
        if time.monotonic() < self._due:
            return self._queues
        try:
            orders = self._farm.seen(self._report())
            if self._examine(orders):
                orders = self._farm.seen(self._report())
            queues = tuple(name for name in self._own.queues if orders.take and name not in orders.leave)
            if bool(queues) != bool(self._queues):
                _log.info("builder.works" if queues else "builder.rests")
            self._queues, pause = queues, orders.again_s
        except FarmError as err:
            pause = _PAUSE_S
            _log.info("builder.not_seen", code=err.code, message=err.message)
        self._due = time.monotonic() + pause
        return self._queues

    def _report(self) -> dict[str, object]:
        tested = self._findings
        findings = (
            None
            if tested is None
            else [
                {
                    "name": one.name,
                    "good": one.good,
                    "value": one.value[:_LONGEST],
                    "hint": one.hint[:_LONGEST],
                }
                for one in tested
            ]
        )
        return {
            "queues": sorted(self._own.queues),
            "slots": self._own.slots,
            "memory_bytes": self._memory,
            "findings": findings,
            "images": self._images,
            "emulators": sorted(emulators()),
        }

    def _examine(self, orders: Orders) -> bool:
        """Test this host, if it is time to; whether there is something new to say."""
        was_fit = self._findings is not None and all(finding.good for finding in self._findings)
        if was_fit and orders.images == self._images and time.monotonic() < self._tested + _TEST_S:
            return False
        if orders.images != self._images:
            _clear_leftovers(self._own)  # what waits for its use may be of an image that is to go
        before, self._images = self._findings, orders.images
        builds.noted_images = orders.images
        self._findings = examine(self._own, skew_s=orders.skew_s, images=orders.images, supply=self._supply)
        self._memory = engine_memory(self._own.docker_host)
        self._tested = time.monotonic()
        bad = [f"{one.name}: {one.value}" for one in self._findings if not one.good]
        if bad and [f"{one.name}: {one.value}" for one in before or () if not one.good] != bad:
            _log.warning("builder.unfit", findings=bad)
        return before is None or was_fit == bool(bad)


class Spares:
    """Does for the next attempts what can be done ahead, when there is nothing else to do.

    Not at once after an attempt: then its files are being published, perhaps on this machine, and the next
    job may be there already.
    """

    def __init__(self, own: BuilderConfig) -> None:
        self._own = own
        self._looked = False
        self._compiling: threading.Thread | None = None

    def wait(self) -> None:
        """An attempt has just ended."""
        self._looked = False

    def tend(self) -> None:
        """Called before each look for work, which lasts some seconds when there is none."""
        if self._looked:
            own = self._own
            refill(docker_host=own.docker_host, workdir=own.workdir, instance=own.instance)
            if self._compiling is None or not self._compiling.is_alive():
                # A large wheel takes seconds, for which no job shall wait.
                self._compiling = threading.Thread(target=self._compile, daemon=True)
                self._compiling.start()
        self._looked = True

    def _compile(self) -> None:
        own = self._own
        compile_noted(docker_host=own.docker_host, workdir=own.workdir, instance=own.instance)


def main() -> int:
    """Work until told to stop; waits for its engine first."""
    log.configure("builder")
    try:
        own = builder_config.load()
        presence = Presence(own)
        _begin_clean(own, presence)
        janitor = start_janitor(own.docker_host, own.instance, own.workdir)
        spares = Spares(own)

        def idle() -> tuple[str, ...]:
            spares.tend()
            return presence.tell()

        def over() -> None:
            spares.wait()
            presence.hasten()

        try:
            return run_worker(
                own.queues,
                own.redis,
                {RUN_BUILD},
                name=own.redis_user,
                on_lost=lambda _job_id, _attempt: _clear_leftovers(own),
                on_idle=idle,
                on_over=over,
                in_turn=own.slots == 1,
            )
        finally:
            _clear_leftovers(own)
            janitor.stop()
    except EnvironmentProblem as err:
        print(err, file=sys.stderr)
        return 2


def _begin_clean(own: BuilderConfig, presence: Presence) -> None:
    """Remove what an earlier life of this builder left, and wait until its engine can be used."""
    _clear_leftovers(own)
    while not (report := check_engine(own.docker_host)).usable:
        _log.warning(
            "builder.no_engine",
            findings=[item.hint or item.value for item in report.findings if not item.good],
        )
        presence.tell()
        time.sleep(_PAUSE_S)
        _clear_leftovers(own)


def _clear_leftovers(own: BuilderConfig) -> None:
    """Remove the containers and folders of attempts whose horse is dead, and give the attempts back.

    To be called while this builder runs none. What fails here is made good by others: the lease of
    an attempt lapses, its containers end at their deadline or with the next call.
    """
    farm = FarmClient(own.farm_url, own.token)
    for job_id, attempt in sweep(own.workdir):
        try:
            farm.lost(job_id, attempt)
            _log.warning("attempt.given_back", job_id=job_id, attempt=attempt)
        except FarmError as err:
            _log.info("attempt.not_given_back", job_id=job_id, attempt=attempt, code=err.code)
    try:
        reap(own.docker_host, own.instance)
        forget(own.workdir)
    except FarmError as err:
        _log.warning("builder.not_reaped", code=err.code, message=err.message)


if __name__ == "__main__":
    sys.exit(main())
