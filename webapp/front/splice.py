"""A connection that is web's: bytes both ways, as they are, until both ends are through."""

from __future__ import annotations

import asyncio
import itertools
import os
import socket
from collections.abc import Callable
from contextlib import suppress

from webapp.front.front import Front, problem, refusal
from webapp.peer import name_of

#: Longer than anything web does without a sign of life: event streams send one every 15 s.
_IDLE_S = 600
_LINGER_S = 5
_READ = 64 << 10  # bytes
_count = itertools.count()


def connect(web: str, address: str, scheme: str) -> socket.socket:
    """A connection to web's unix socket, under a name that tells web whose it is.

    Raises:
        OSError: web is not there, or takes no more connections at the moment.
    """
    line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        line.bind(name_of(address, scheme, f"{os.getpid()}.{next(_count)}"))
        line.connect(web)
    except OSError:
        line.close()
        raise
    return line


class End(asyncio.Protocol):
    """One end of a splice: what it receives the other end sends."""

    transport: asyncio.Transport

    def __init__(self, front: Front) -> None:
        self._front = front
        self._seen = front.tick
        self.other: End = self  # until there is another
        self.is_silent = True  # has received nothing so far
        self.is_lost = False

    def data_received(self, data: bytes) -> None:
        """Pass on."""
        self.is_silent = False
        self._seen = self.other._seen = self._front.tick
        if not self.other.is_lost:
            self.other.transport.write(data)

    def pause_writing(self) -> None:
        """This end takes no more: nothing more is read at the other."""
        if not self.other.is_lost:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        """This end takes more."""
        if not self.other.is_lost:
            self.other.transport.resume_reading()

    def connection_lost(self, _err: Exception | None) -> None:
        """This end is gone: the other sends what is on its way, and closes."""
        self.is_lost = True
        self._front.parties.discard(self)
        if not self.other.is_lost:
            self.other._close()

    def _close(self) -> None:
        self.transport.close()

    def is_overdue(self, tick: int) -> bool:
        """Whether nothing happened for too long."""
        return tick - self._seen > _IDLE_S

    def drain(self) -> None:
        """What is on its way here comes to its end, or is cut off with the front."""


class WebEnd(End):
    """Web's end; `opened` is told when it is there, before anything is read from it."""

    def __init__(self, front: Front, opened: Callable[[WebEnd], None]) -> None:
        super().__init__(front)
        self._opened = opened

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The transport is there."""
        self.transport = transport  # type: ignore[assignment]
        self._opened(self)

    def connection_lost(self, err: Exception | None) -> None:
        """Web is gone; if bytes were on their way to it, its last words have not been read yet."""
        if err is not None:
            with suppress(OSError):
                while said := os.read(self.transport.get_extra_info("socket").fileno(), _READ):
                    self.data_received(said)
        super().connection_lost(err)

    def eof_received(self) -> bool:
        """Web has said all and reads no more: its end is let go at once, however long the client lingers.

        A gunicorn worker waits for that, up to two seconds in which it takes nobody else.
        """
        return False


class ClientEnd(End):
    """The client's end."""

    def __init__(
        self, front: Front, transport: asyncio.Transport, web: WebEnd, address: str, *, has_ended: bool
    ) -> None:
        super().__init__(front)
        self.transport, self._address = transport, address
        self.other, web.other = web, self
        self._has_ended = has_ended  # the client sends no more
        self._lingers = False

    def data_received(self, data: bytes) -> None:
        """Pass on; what comes after web has gone is dropped."""
        if not self._lingers:
            super().data_received(data)

    def connection_lost(self, err: Exception | None) -> None:
        """The client is gone."""
        super().connection_lost(err)
        self._front.leave(self, self._address)

    def eof_received(self) -> bool:
        """The client sends no more; web's answers still go to it."""
        self._has_ended = True
        if self._lingers or self.other.is_lost or not self.other.transport.can_write_eof():
            return False
        self.other.transport.write_eof()
        return True

    def _close(self) -> None:
        """Web is gone: say so if it said nothing; a client in the middle of a body shall read its answer."""
        if self.other.is_silent:
            sentence = "The farm's web process ended; try again in a moment."
            self._front.note(f'"address": "{self._address}", '.encode() + refusal(503, sentence))
            self.transport.write(problem(503, sentence))
        if self.transport.can_write_eof() and not self._has_ended:
            self.transport.write_eof()
            self.transport.resume_reading()
            self._lingers, self._seen = True, self._front.tick
        else:
            self.transport.close()

    def is_overdue(self, tick: int) -> bool:
        """Whether nothing happened for too long, or the client lingers longer than it needs."""
        return tick - self._seen > (_LINGER_S if self._lingers else _IDLE_S)
