"""One client's connection: answered request by request, until one comes that is web's."""

from __future__ import annotations

import asyncio
import socket
from functools import partial

from webapp.front import splice
from webapp.front.answers import TRIES, Ready, open_stored
from webapp.front.front import Front, problem, refusal
from webapp.front.grammar import LONGEST_HEAD, Request, parse
from webapp.front.sending import Sending
from webapp.front.verdicts import Known

#: Seconds a client has to take a byte of an answer, and to end a connection that is over.
_STALLED_S, _LINGER_S = 60, 5
_SMALL = 16 * 1024
_AWAY = "The farm's web process is away; what is in the index can be installed."


class Connection(asyncio.Protocol):
    """A client, for as long as nothing came that is web's."""

    transport: asyncio.Transport

    def __init__(self, front: Front) -> None:
        self._front = front
        self._address = ""
        self._prefix = b""
        self._buffer = b""  # what came and was not answered yet
        self._since = front.tick  # of the last change of what is waited for
        self._waits = False  # for a verdict, for web, or for a file to be sent
        self._is_blocked = False  # the client does not take what it was sent
        self._has_ended = False  # the client sends no more
        self._is_closing = False  # what comes is dropped
        self._sending: Sending | None = None

    # What the loop calls ---------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client came."""
        self.transport = transport  # type: ignore[assignment]
        self._address = transport.get_extra_info("peername")[0]
        self._prefix = f'"address": "{self._address}", '.encode()
        # What a socket does not take at once is a reason to wait, and only then is anything kept. uvloop
        # says so of a plain socket above `high`, of TLS at it: one byte.
        is_plain = transport.get_extra_info("sslcontext") is None
        self.transport.set_write_buffer_limits(high=0 if is_plain else 1)
        if not self._front.enter(self, self._address):
            self._end_with(503, "This address has too many connections here; close some.")

    def connection_lost(self, _err: Exception | None) -> None:
        """The client went."""
        self._is_closing = True
        self._front.leave(self, self._address)
        if self._sending:
            self._sending.close()

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        if self._is_closing:
            return
        if self._buffer:
            data = self._buffer + data
        else:
            self._since = self._front.tick
        if self._waits or self._is_blocked:
            self._buffer = data
            if len(data) > LONGEST_HEAD:
                self.transport.pause_reading()
        else:
            self._go(data)

    def eof_received(self) -> bool:
        """The client sends no more; what it asked before is answered still."""
        self._has_ended = True
        return (self._waits or self._is_blocked) and self.transport.can_write_eof()

    def pause_writing(self) -> None:
        """The client takes no more at the moment."""
        self._is_blocked = True
        self._since = self._front.tick

    def resume_writing(self) -> None:
        """The client takes more."""
        self._is_blocked = False
        self._since = self._front.tick
        if self._sending:
            self._sending.go()
        else:
            self._go_on()

    # What the front calls --------------------------------------------------------------------------

    def is_overdue(self, tick: int) -> bool:
        """Whether this client has had its time; one that is in the middle of a head is told."""
        if self._is_closing:
            return tick - self._since > _LINGER_S
        if self._sending or self._is_blocked:
            if self._sending and self._sending.has_moved():
                self._since = tick
            return tick - self._since > _STALLED_S
        if self._waits:
            return False  # they have limits of their own
        if self._buffer and tick - self._since > self._front.head_s:
            self._end_with(408, "The request did not arrive in time.")
            return False
        return tick - self._since > self._front.idle_s

    def drain(self) -> None:
        """End when what was asked is answered."""
        if not (self._waits or self._is_blocked):
            self.transport.close()

    # Requests --------------------------------------------------------------------------------------

    def _go(self, data: bytes) -> None:
        """Answer every whole request of `data`; what is left of it is kept."""
        front = self._front
        while data:
            end = data.find(b"\r\n\r\n") + 4
            if end == 3 and len(data) <= LONGEST_HEAD:
                break
            head = data if end == len(data) else data[:end]
            if end == 3 or end > LONGEST_HEAD:
                self._splice(data)
                return
            ready = front.answers.recall(head, front.loop.time()) or self._first(head, data)
            if ready is None:
                return
            if not (self._send(ready) or self._send_anew(head, ready.known)):
                self._splice(data)
                return
            data = data[end:]
            if self._waits or self._is_blocked or self._is_closing:
                break
        self._buffer = data
        if self._has_ended and not (self._waits or self._is_blocked):
            self._close()

    def _first(self, head: bytes, data: bytes) -> Ready | None:
        """The answer to a head that is not remembered; None when it, or the connection, must wait."""
        front = self._front
        request = parse(head)
        if request is None or not front.answers.has_channel(request.channel):
            self._splice(data)
            return None
        authorization = request.headers.get("authorization", "")
        known = front.verdicts.recall(request.channel, authorization)
        if known is None:
            self._buffer, self._waits = data, True
            asking = front.verdicts.ask(request.channel, authorization, self._address)
            asking.add_done_callback(partial(self._told, head, request))
            return None
        return self._make(head, request, known, data)

    def _told(self, head: bytes, request: Request, asked: asyncio.Task[Known | None]) -> None:
        """Web said what it thinks of the credential of the first request in the buffer."""
        self._waits = False
        if self._is_closing:
            return
        known = None if asked.cancelled() else asked.result()
        if known is None:
            self._end_with(503, "The farm cannot tell at the moment whether these credentials are good.")
            return
        data = self._buffer
        ready = self._make(head, request, known, data)
        if ready is None:
            return
        if not (self._send(ready) or self._send_anew(head, known)):
            self._splice(data)
            return
        self._buffer = data[len(head) :]
        self._go_on()

    def _make(self, head: bytes, request: Request, known: Known, data: bytes) -> Ready | None:
        ready = self._front.answers.make(head, request, known)
        if ready is None:
            self._splice(data)
        return ready

    def _send(self, ready: Ready) -> bool:
        """Send an answer, or begin to; False when its file is not the one any more that was meant."""
        front = self._front
        if ready.file is not None:
            source = open_stored(ready.file)
            if source is None:
                return False
            self._waits = True
            self._sending = Sending(
                front.loop, self.transport, source, ready.offset, ready.length, partial(self._sent, ready)
            )
        front.note(self._prefix + ready.line)
        self._since = front.tick  # what follows in the buffer is another head, with a time of its own
        body = ready.body
        if len(body) <= _SMALL:
            self.transport.write(b"".join((ready.start, front.date, ready.head, body)))
        else:
            self.transport.writelines((b"".join((ready.start, front.date, ready.head)), body))
        if self._sending:
            if not self._is_blocked:
                self._sending.go()
        elif ready.is_last or front.is_draining:
            self._close()
        return True

    def _send_anew(self, head: bytes, known: Known) -> bool:
        """Send what is there now in place of a file that was replaced before it was opened."""
        request = parse(head)
        for _ in range(TRIES):
            ready = request and self._front.answers.make(head, request, known)
            if not ready:
                break
            if self._send(ready):
                return True
        return False

    def _sent(self, ready: Ready) -> None:
        """A file is through."""
        self._sending, self._waits = None, False
        self._since = self._front.tick
        if ready.is_last or self._front.is_draining:
            self._close()
        else:
            self._go_on()

    def _go_on(self) -> None:
        if self._waits or self._is_blocked or self._is_closing:
            return
        self.transport.resume_reading()
        self._go(self._buffer)

    # Ends ------------------------------------------------------------------------------------------

    def _splice(self, data: bytes) -> None:
        """Hand the connection to web, beginning with `data`."""
        self._buffer, self._waits = data, True
        self.transport.pause_reading()
        try:
            line = splice.connect(self._front.web, self._address, self._front.scheme)
        except OSError:
            self._end_with(503, _AWAY)
            return
        # Both ends know each other before anything of web is read: its end may be there already.
        opening = asyncio.ensure_future(
            self._front.loop.create_unix_connection(
                partial(splice.WebEnd, self._front, self._spliced), sock=line
            )
        )
        opening.add_done_callback(partial(self._opened, line))

    def _spliced(self, web: splice.WebEnd) -> None:
        """Web's end is there: the client's takes over from here."""
        if self._is_closing:
            web.transport.abort()
            return
        client = splice.ClientEnd(self._front, self.transport, web, self._address, has_ended=self._has_ended)
        self._is_closing = True
        self.transport.set_protocol(client)
        self._front.replace(self, client, web)
        web.transport.write(self._buffer)
        if self._has_ended:
            web.transport.write_eof()
        self.transport.resume_reading()

    def _opened(
        self, line: socket.socket, opening: asyncio.Task[tuple[asyncio.Transport, splice.WebEnd]]
    ) -> None:
        """Web's end is read from, or is not there."""
        try:
            _, web = opening.result()
        except OSError:
            self._waits = False
            if not self._is_closing:
                self._end_with(503, _AWAY)
            return
        if web.is_lost:
            # uvloop closed the descriptor before it was told of the socket. Python would close it once
            # more, and with it the connection that has its number by then.
            line.detach()
        elif self.transport.get_write_buffer_size():
            web.other.pause_writing()

    def _end_with(self, status: int, sentence: str) -> None:
        self._front.note(self._prefix + refusal(status, sentence))
        self.transport.write(problem(status, sentence))
        self._close()

    def _close(self) -> None:
        """Close so that the client can read what was sent: what it still sends is dropped for a while."""
        self._is_closing, self._waits, self._buffer = True, False, b""
        self._since = self._front.tick
        if self.transport.can_write_eof() and not (self._has_ended or self._front.is_draining):
            self.transport.write_eof()
            self.transport.resume_reading()
        else:
            self.transport.close()
