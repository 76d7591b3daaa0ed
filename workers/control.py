"""The control worker: `python -m workers.control`. Publishing comes before fetching."""

from __future__ import annotations

import sys

from buildfarm import config, log
from buildfarm.errors import EnvironmentProblem
from buildfarm.farm.wire import CONTROL_QUEUES, RUN_TASK
from workers.worker import run_worker

#: The most urgent first: what is nearly done is finished before new work is begun.
QUEUES = sorted(CONTROL_QUEUES, key=("publish", "notify", "fetch", "plan", "mirror").index)


def main() -> int:
    """Work until told to stop."""
    log.configure("worker")
    try:
        return run_worker(QUEUES, config.load().redis, {RUN_TASK}, name="control")
    except EnvironmentProblem as err:
        print(err, file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
