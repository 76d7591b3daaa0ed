"""A web that says what a test wants."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from pathlib import Path


class StubWeb:
    """Web as nginx sees it, without a farm: says what a test wants on the socket; `asked` has all heads."""

    def __init__(self, path: Path) -> None:
        self.asked: list[bytes] = []
        self.says: Callable[[bytes], bytes] = lambda _head: verdict(204, "allow")
        path.parent.mkdir(parents=True, exist_ok=True)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(512)
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def verdicts_asked(self) -> int:
        return sum(head.startswith(b"GET /_verdict/") for head in self.asked)

    def end(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                if not (data := connection.recv(65536)):
                    return
                head += data
            self.asked.append(head)
            connection.sendall(self.says(head))


def verdict(status: int, name: str = "") -> bytes:
    """What web says to whoever asks for a verdict, or 404 to anything else."""
    length = "" if status == 204 else "Content-Length: 0\r\n"
    given = f"X-Verdict: {name}\r\n" if name else ""
    return f"HTTP/1.1 {status} x\r\n{given}{length}Connection: close\r\n\r\n".encode()
