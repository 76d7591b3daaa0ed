"""A worker process: `python work.py URL NAME QUEUE...`; logs go to standard error."""

import os
import sys
from pathlib import Path

from buildfarm import log
from workers.worker import run_worker

ALLOWED = ("farmjobs.note", "farmjobs.hold", "farmjobs.fail")

if __name__ == "__main__":
    log.configure("worker")
    folder = Path(os.environ["FARM_TEST_DIR"])

    def may_work() -> list[str]:
        """Not while there is a file `rest`, in which each question is noted."""
        rest = folder / "rest"
        if rest.exists():
            rest.write_text(rest.read_text() + "?")
        return [] if rest.exists() else sys.argv[3:]

    name = sys.argv[2]
    in_turn = name == "alone"
    sys.exit(run_worker(sys.argv[3:], sys.argv[1], ALLOWED, name=name, on_idle=may_work, in_turn=in_turn))
