"""A connection that can be cut: what lies behind an address, passed on byte by byte until then."""

import contextlib
import socket
import threading
from collections.abc import Callable
from pathlib import Path


class Relay:
    """Listens at `place` and passes on to what `reach` connects to.

    Args:
        place: a port of this machine, or the path of a unix socket.
        reach: a new connection to what lies behind.
    """

    def __init__(self, place: int | Path, reach: Callable[[], socket.socket]) -> None:
        self._place, self._reach = place, reach
        self._open: list[socket.socket] = []
        self.mend()

    @property
    def port(self) -> int:
        """Where it listens, when that is a port."""
        assert isinstance(self._place, int)
        return self._place

    @property
    def path(self) -> Path:
        """Where it listens, when that is a unix socket."""
        assert isinstance(self._place, Path)
        return self._place

    def mend(self) -> None:
        """Listen (again)."""
        family = socket.AF_UNIX if isinstance(self._place, Path) else socket.AF_INET
        self._listener = socket.socket(family)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        unix = isinstance(self._place, Path)
        self._listener.bind(str(self._place) if unix else ("127.0.0.1", self._place))
        self._listener.listen()
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def cut(self) -> None:
        """Break every connection and take no other."""
        if isinstance(self._place, Path):
            self._place.unlink(missing_ok=True)
        for one in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        self._open.clear()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = listener.accept()
                far = self._reach()
                self._open += [near, far]
                for pair in ((near, far), (far, near)):
                    threading.Thread(target=_pump, args=pair, daemon=True).start()


def _pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
