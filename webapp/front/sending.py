"""A slice of a file to a client: by sendfile(2) on a plain socket, in pieces through TLS."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

_PIECE = 256 * 1024
#: How much one client is sent before the others have a turn.
_TURN = 4 * 1024 * 1024


class Sending:
    """One file on its way; `done` is called at its end, or never when the connection ends before.

    It owns the descriptor `source`. The transport's own buffer must be empty when it begins.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        transport: asyncio.Transport,
        source: int,
        start: int,
        length: int,
        done: Callable[[], None],
    ) -> None:
        self._loop, self._transport, self._done = loop, transport, done
        self._source, self._offset, self._end = source, start, start + length
        self._is_plain = transport.get_extra_info("sslcontext") is None
        self._socket = -1
        self._waits = False
        self._asked = self._offset

    def go(self) -> None:
        """Send as much as the client takes now; called again when it takes more."""
        if self._source < 0:
            return
        try:
            if self._is_plain:
                self._sendfile()
            else:
                self._write()
        except OSError:
            self._transport.abort()

    def close(self) -> None:
        """Give back what is held."""
        if self._waits:
            self._loop.remove_writer(self._socket)
            self._waits = False
        if self._socket >= 0:
            os.close(self._socket)
        if self._source >= 0:
            os.close(self._source)
        self._source = self._socket = -1

    def has_moved(self) -> bool:
        """Whether the client took anything since this was last asked."""
        before, self._asked = self._asked, self._offset
        return before != self._offset

    def _sendfile(self) -> None:
        if self._socket < 0:
            # The loop watches the transport's own descriptor; a copy of it may be watched by others.
            self._socket = os.dup(self._transport.get_extra_info("socket").fileno())
        turn = min(self._end, self._offset + _TURN)
        try:
            while self._offset < turn:
                sent = os.sendfile(self._socket, self._source, self._offset, turn - self._offset)
                if not sent:
                    self._transport.abort()  # the file became shorter: what was promised cannot be sent
                    return
                self._offset += sent
        except BlockingIOError:
            pass
        if self._offset == self._end:
            self._finish()
        elif not self._waits:
            self._waits = True
            self._loop.add_writer(self._socket, self.go)

    def _write(self) -> None:
        turn = min(self._end, self._offset + _TURN)
        # A transport that holds anything calls `resume_writing` when it takes more.
        while self._offset < turn and not self._transport.get_write_buffer_size():
            piece = os.pread(self._source, min(_PIECE, turn - self._offset), self._offset)
            if not piece:
                self._transport.abort()
                return
            self._offset += len(piece)
            self._transport.write(piece)
        if self._offset == self._end:
            self._finish()
        elif self._offset == turn:
            self._loop.call_soon(self.go)

    def _finish(self) -> None:
        self.close()
        # Not at once: whoever began the sending is still at it.
        self._loop.call_soon(self._done)
