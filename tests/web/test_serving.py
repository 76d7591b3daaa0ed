"""What gunicorn's workers do before they serve."""

from __future__ import annotations

import subprocess
import sys

STARTED = """
import sys, threading
import webapp.app, webapp.serving
before = "redis" in sys.modules
webapp.serving.post_worker_init(None)
for thread in threading.enumerate():
    if thread is not threading.current_thread():
        thread.join(60)
print(before, "redis" in sys.modules)
"""


def test_the_queue_client_is_loaded_beside_the_first_requests_and_not_by_one_of_them() -> None:
    done = subprocess.run([sys.executable, "-c", STARTED], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]
