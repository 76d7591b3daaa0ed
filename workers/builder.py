"""The builder's process: `python -m workers.builder`, one for each attempt that may run at a time."""

from __future__ import annotations

import sys
import time

from buildfarm import log
from buildfarm.errors import EnvironmentProblem, FarmError
from buildfarm.farm.wire import RUN_BUILD
from buildfarm.sandbox.images import check_engine
from buildfarm.sandbox.janitor import reap, start_janitor, sweep
from workers import builder_config
from workers.builder_config import BuilderConfig
from workers.farm_client import FarmClient
from workers.worker import run_worker

_log = log.get(__name__)
_PAUSE_S = 5.0


def main() -> int:
    """Work until told to stop; waits for its engine first."""
    log.configure("builder")
    try:
        own = builder_config.load()
        _clear_leftovers(own)
        janitor = start_janitor(own.docker_host, own.instance)
        try:
            return run_worker(own.queues, own.redis, {RUN_BUILD}, name=own.redis_user)
        finally:
            janitor.stop()
    except EnvironmentProblem as err:
        print(err, file=sys.stderr)
        return 2


def _clear_leftovers(own: BuilderConfig) -> None:
    """Wait until engine and farm answer, then remove what an earlier life of this builder left."""
    farm = FarmClient(own.farm_url, own.token)
    while True:
        report = check_engine(own.docker_host)
        try:
            if report.usable:
                keep = farm.current()
                reap(own.docker_host, own.instance, keep)
                sweep(own.workdir, keep)
                return
            _log.warning(
                "builder.no_engine",
                findings=[item.hint or item.value for item in report.findings if not item.good],
            )
        except FarmError as err:
            _log.warning("builder.waits", code=err.code, message=err.message)
        time.sleep(_PAUSE_S)


if __name__ == "__main__":
    sys.exit(main())
