"""Raw sockets: what was sent and what came back, byte for byte."""

from __future__ import annotations

import socket
from dataclasses import dataclass


@dataclass
class Answer:
    """What came back: status, headers (lower-case names, values of equal names joined), body, the rest."""

    status: int
    reason: str
    headers: dict[str, str]
    body: bytes


class Wire:
    """A raw connection."""

    def __init__(self, address: tuple[str, int] | str) -> None:
        kind = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
        self.socket = socket.socket(kind, socket.SOCK_STREAM)
        self.socket.settimeout(60)
        self.socket.connect(address)
        self._data = b""

    def send(self, data: bytes) -> Wire:
        self.socket.sendall(data)
        return self

    def answer(self, *, head: bool = False) -> Answer:
        """The next answer; interim ones (1xx) are answers too."""
        while b"\r\n\r\n" not in self._data:
            assert self._more(), f"the connection ended, with {self._data!r}"
        top, _, self._data = self._data.partition(b"\r\n\r\n")
        line, *fields = top.decode("latin-1").split("\r\n")
        headers: dict[str, str] = {}
        for one in fields:
            name, _, value = one.partition(":")
            name = name.lower()
            headers[name] = f"{headers[name]}, {value.strip()}" if name in headers else value.strip()
        _, status, reason = (line + "  ").split(" ", 2)
        body = b""
        if not head and int(status) >= 200 and int(status) not in {204, 304}:
            body = self._body(headers)
        return Answer(int(status), reason.strip(), headers, body)

    def _body(self, headers: dict[str, str]) -> bytes:
        if headers.get("transfer-encoding") == "chunked":
            body = b""
            while True:
                size = int(self._upto(b"\r\n"), 16)
                chunk = self._exactly(size + 2)[:-2]
                body += chunk
                if not size:
                    return body
        if "content-length" in headers:
            return self._exactly(int(headers["content-length"]))
        return self.rest()

    def _upto(self, mark: bytes) -> bytes:
        while mark not in self._data:
            assert self._more()
        line, _, self._data = self._data.partition(mark)
        return line

    def _exactly(self, size: int) -> bytes:
        while len(self._data) < size:
            assert self._more(), f"{size - len(self._data)} bytes are missing"
        body, self._data = self._data[:size], self._data[size:]
        return body

    def rest(self) -> bytes:
        """Everything until the connection ends."""
        while self._more():
            pass
        rest, self._data = self._data, b""
        return rest

    def _more(self) -> bool:
        try:
            data = self.socket.recv(1 << 16)
        except ConnectionResetError:
            return False
        self._data += data
        return bool(data)

    @property
    def is_closed(self) -> bool:
        """Whether the other side ended the connection, with nothing unread."""
        self.socket.settimeout(0.05)
        try:
            return not self._data and not self._more()
        except TimeoutError:
            return False
        finally:
            self.socket.settimeout(60)

    def peek(self) -> bytes:
        """What came and was not read, without waiting for more."""
        self.is_closed  # noqa: B018
        return self._data

    def close(self) -> None:
        self.socket.close()
