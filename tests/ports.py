"""Ports that a test must know before anybody listens there."""

from __future__ import annotations

import socket

_KEPT: list[socket.socket] = []


def free_port() -> int:
    """A port of the loopback that the kernel gives nobody else as long as these tests run.

    A socket that is bound and does not listen keeps it: connections are refused, and a server that names
    the port gets it, as all servers set SO_REUSEADDR.
    """
    kept = socket.socket()
    kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    kept.bind(("127.0.0.1", 0))
    _KEPT.append(kept)
    return int(kept.getsockname()[1])
