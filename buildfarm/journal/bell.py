"""The bell between those who write the journal on this host and the one who shows it, the page follower.

Whoever has committed a row rings, and the follower looks at once; whoever has to wait until a row is shown
asks to be told. The bell carries no truth: what it says is looked up in SQL, and what it loses (nobody
listens, too many ask at once, the follower is killed) is found a little later by looking.

It is one Unix datagram socket in the data folder. An empty datagram rings; eight bytes, a serial, ask for
one in return once that serial is shown. Source: unix(7).
"""

from __future__ import annotations

import collections
import contextlib
import socket
from pathlib import Path

from sqlalchemy.orm import Session

from buildfarm.sockets import short_socket_path

#: Of those that wait to be told, the newest; one that is forgotten looks for itself.
_ASKERS = 1000
_SERIAL_BYTES = 8


class Bell:
    """The side of those who write; may be shared by threads and by forked processes. Never raises."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._address = ""

    def ring(self) -> None:
        """Have the follower look at the journal now."""
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bell:
            bell.setblocking(False)
            bell.sendto(b"", self._where())

    def ring_for(self, session: Session) -> None:
        """Ring when the committed transaction appended to the journal; the unit of work's `after_commit`."""
        if "serial" in session.info:
            self.ring()

    def await_shown(self, serial: int, seconds: float) -> None:
        """Wait until the follower says that it shows the serial; not at all when nobody listens."""
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bell:
            bell.bind("")  # the kernel chooses an address to answer to
            bell.setblocking(False)
            bell.sendto(serial.to_bytes(_SERIAL_BYTES, "big"), self._where())
            bell.settimeout(max(seconds, 0.001))
            bell.recv(1)

    def _where(self) -> str:
        # Found once: a path that is too long costs a descriptor.
        self._address = self._address or short_socket_path(self._path)
        return self._address


class Listener:
    """The side of the one that shows the journal; there is one on each host. For one thread."""

    def __init__(self, path: Path) -> None:
        """Listen at `path`, in the place of whoever listened there before.

        Raises:
            OSError: there can be no socket.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        self._bell = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        path.unlink(missing_ok=True)
        self._bell.bind(short_socket_path(path))
        self._askers: collections.deque[tuple[int, bytes]] = collections.deque(maxlen=_ASKERS)

    def wait(self, seconds: float) -> None:
        """Wait until somebody rings or asks, so many seconds at most; whoever else did is heard as well."""
        self._bell.settimeout(max(seconds, 0.001))
        with contextlib.suppress(OSError):
            self._hear()
            self._bell.setblocking(False)
            while True:
                self._hear()

    def _hear(self) -> None:
        said, asker = self._bell.recvfrom(_SERIAL_BYTES)
        if said and asker:
            self._askers.append((int.from_bytes(said, "big"), asker))

    def tell(self, shown: int) -> None:
        """Tell those who asked for it that this serial is shown now."""
        self._bell.setblocking(False)
        for _ in range(len(self._askers)):
            serial, asker = self._askers.popleft()
            if serial > shown:
                self._askers.append((serial, asker))
                continue
            with contextlib.suppress(OSError):
                self._bell.sendto(b"!", asker)

    def close(self) -> None:
        """Listen no longer."""
        self._bell.close()
