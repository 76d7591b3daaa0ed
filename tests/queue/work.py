"""A worker process: `python work.py URL NAME QUEUE...`; logs go to standard error."""

import sys

from buildfarm import log
from workers.worker import run_worker

ALLOWED = ("farmjobs.note", "farmjobs.hold", "farmjobs.fail")

if __name__ == "__main__":
    log.configure("worker")
    sys.exit(run_worker(sys.argv[3:], sys.argv[1], ALLOWED, name=sys.argv[2]))
