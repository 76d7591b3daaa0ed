"""Unix sockets below a data folder of any depth.

A socket address holds 107 bytes of path (unix(7): `sun_path` is 108 with its NUL). A data folder
may lie deeper than that, so a process that keeps a descriptor of the socket's folder can lend
everybody of its user a short road to it.
"""

from __future__ import annotations

import os
from pathlib import Path

#: Bytes of path that fit into `sockaddr_un` beside the closing NUL.
LONGEST_SOCKET_PATH = 107


def short_socket_path(path: Path) -> str:
    """A path to connect to, or to bind, that fits into a socket address.

    A short path is returned as it is. For a long one the folder is opened and kept open for the
    rest of this process's life, and `/proc/<pid>/fd/<n>/<name>` is returned: it works in every
    process that may look at this one (same user, or root) for as long as this process lives.
    Call it once for each socket, in the longest-lived process.

    Args:
        path: where the socket is or will be; its folder must exist.

    Raises:
        OSError: if the folder cannot be opened.
    """
    absolute = path.absolute()
    if len(os.fsencode(absolute)) <= LONGEST_SOCKET_PATH:
        return str(absolute)
    folder = os.open(absolute.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    return f"/proc/{os.getpid()}/fd/{folder}/{absolute.name}"
