"""How gunicorn runs the application: `gunicorn -c python:webapp.serving --bind ... webapp.wsgi:app`."""

from __future__ import annotations

import gc
import threading
from typing import Any

from buildfarm.processes import allow_all_descriptors

worker_class = "gthread"
workers = 2
threads = 64
preload_app = True
graceful_timeout = 1
keepalive = 30
control_socket_disable = True
# Who the peer is says `webapp.peer`; gunicorn would believe any header that comes by a unix socket.
secure_scheme_headers: dict[str, Any] = {}
forwarder_headers = ""


def on_starting(_server: object) -> None:
    """What gunicorn calls when it has loaded the application, before it starts its workers."""
    allow_all_descriptors()
    # What is loaded stays. A worker that looked through it for garbage would halt all its threads for a tenth
    # of a second, and copy every page.
    gc.collect()
    gc.freeze()


def post_worker_init(_worker: object) -> None:
    """What gunicorn calls in each worker before its first request."""
    threading.Thread(target=_load_queue_client, daemon=True).start()


def _load_queue_client() -> None:
    """Load what the first delivery would else have loaded while the next ones wait; readiness need not."""
    import buildfarm.farm.queue  # noqa: F401
