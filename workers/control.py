"""The control worker: `python -m workers.control [QUEUE ...]`. Publishing comes before fetching.

`notify` has a worker of its own where `up` runs the farm: an SCM that is slow must not keep a build waiting.
"""

from __future__ import annotations

import sys

from buildfarm import config, log
from buildfarm.errors import EnvironmentProblem, FarmError
from buildfarm.farm import handover
from buildfarm.farm.keeper import give_back_task
from buildfarm.farm.wire import BUILDING_QUEUES, CONTROL_QUEUES, RUN_TASK
from buildfarm.scm.answers import note
from buildfarm.sources import fetcher
from buildfarm.wheels import descriptions, validate
from workers.tasks import own_farm
from workers.worker import run_worker

_log = log.get(__name__)

#: The most urgent first: what is nearly done is finished before new work is begun.
QUEUES = sorted(CONTROL_QUEUES, key=("publish", "notify", "fetch", "plan", "mirror").index)


def main() -> int:
    """Work until told to stop."""
    log.configure("worker")
    try:
        queues = [name for name in QUEUES if name in sys.argv[1:]] or QUEUES
        if set(queues) & set(BUILDING_QUEUES):
            for sandbox in (validate.sandbox, descriptions.sandbox, fetcher.sandbox):
                sandbox.share()
        _rehearse()
        return run_worker(queues, config.load().redis, {RUN_TASK}, name="control", on_lost=_give_back)
    except EnvironmentProblem as err:
        print(err, file=sys.stderr)
        return 2


def _rehearse() -> None:
    """Make ready what every task needs, for the processes that do them; without a database they do it."""
    try:
        database = own_farm().database
        with database.begin() as session:
            note.rehearse(session)
        database.rehearse()
    except FarmError as err:
        _log.warning("worker.not_rehearsed", code=err.code)


def _give_back(task_id: str, attempt: int) -> None:
    """The process that did this task was killed: let it be done again now, not when its lease lapses."""
    farm = own_farm()
    try:
        give_back_task(farm.database, farm.settings, task_id, attempt)
        handover.try_hand_over(farm.database, farm.queues)
    except FarmError as err:
        _log.warning("task.not_given_back", task_id=task_id, code=err.code)
    finally:
        # No connection of this process may live on in the horses that it forks.
        farm.database.close()


if __name__ == "__main__":
    sys.exit(main())
