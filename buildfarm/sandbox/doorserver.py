"""How a container's door is spoken: an HTTP server on a unix socket in a directory of its own.

`GET` asks for the farm's index (`/simple/...`, `/files/...`), registries (`/crates/...`, `/go/...`), bytecode
of the wheels that were fetched (`/bytecode`) and what compilers made before (`/cache/...`); `PUT` hands out
finished files (`/out/NAME`), one small JSON of facts (`/facts`) and what compilers made. Listening on a
directory's socket, mounted read-only, works without any network in the container.
"""

from __future__ import annotations

import os
import socket
import socketserver
import threading
from collections.abc import Iterable, Mapping
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import TYPE_CHECKING

from buildfarm import log
from buildfarm.errors import StorageFull
from buildfarm.sandbox.compilecache import ENTRY_BYTES
from buildfarm.sandbox.doorpaths import index_path

if TYPE_CHECKING:
    from buildfarm.sandbox.channel import Channel

_log = log.get(__name__)

SOCKET_NAME = "farm.sock"

_CACHE = "/cache/"
_MAX_FACTS = 64 * 1024
_MAX_DRAINED = 1024 * 1024
_MAX_CONNECTIONS = 64
_IDLE_SECONDS = 120
_PASSED_INWARDS = ("accept", "range", "if-none-match", "if-modified-since", "if-range")
_PASSED_OUTWARDS = {
    "content-type", "content-length", "content-encoding", "content-range", "accept-ranges",
    "etag", "last-modified", "cache-control", "x-pypi-last-serial",
}  # fmt: skip

_Request = socket.socket | tuple[bytes, socket.socket]  # as the base class has it


class DoorServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """Serves one channel on `SOCKET_NAME` in a directory, to so many connections at a time.

    Args:
        directory: an existing, empty directory.
        channel: what is asked and told.
    """

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, directory: Path, channel: Channel) -> None:
        self.channel = channel
        self._slots = threading.BoundedSemaphore(_MAX_CONNECTIONS)
        # Addresses of unix sockets hold 108 bytes; through a descriptor any directory will do.
        descriptor = os.open(directory, os.O_PATH | os.O_DIRECTORY)
        try:
            super().__init__(f"/proc/self/fd/{descriptor}/{SOCKET_NAME}", _Handler)
            # The container's user is nobody on this host: the directory is what protects the socket.
            (directory / SOCKET_NAME).chmod(0o666)
        finally:
            os.close(descriptor)

    def process_request(self, request: _Request, client_address: object) -> None:
        """Begin to serve a connection, once one of the threads is free."""
        self._slots.acquire()  # more connections wait in the backlog: threads stay bounded
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._slots.release()
            raise

    def process_request_thread(self, request: _Request, client_address: object) -> None:
        """Serve a connection to its end."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._slots.release()

    def handle_error(self, request: _Request, client_address: object) -> None:
        """Note what broke it, for the builder's operator; the container was told or is gone."""
        _log.info("channel_connection_broken", exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "buildfarm"
    sys_version = ""
    timeout = _IDLE_SECONDS
    server: DoorServer
    connection: socket.socket

    def do_GET(self) -> None:
        if self.path.startswith(_CACHE):
            self._cached()
            return
        if self.path == "/bytecode":
            self._bytecode()
            return
        path = index_path(self.path)
        if path is None:
            self._send(404, {}, [b"here are only /simple/, /files/, /crates/ and /go/\n"])
            return
        headers = {name: self.headers[name] for name in _PASSED_INWARDS if name in self.headers}
        self.server.channel.index(path, headers, self._send)

    def do_HEAD(self) -> None:
        if self.path.startswith(_CACHE):
            self._cached()
            return
        # uv takes 405, and no other refusal, as "ask with GET".
        self._send(405, {}, [])

    def do_PUT(self) -> None:
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit()):
            self._close(411, "the length must be told")
        elif self.path == "/facts":
            self._facts(int(length))
        elif self.path.startswith(_CACHE):
            self._keep(self.path.removeprefix(_CACHE), int(length))
        elif self.path.startswith("/out/"):
            self._output(self.path[5:], int(length))
        else:
            self._close(404, "files go to /out/, facts to /facts")

    def _cached(self) -> None:
        cache = self.server.channel.cache
        if cache is None:
            self._send(404, {}, [])
            return
        with cache.turns:
            data = cache.get(self.path.removeprefix(_CACHE))
            if data is None:
                self._send(404, {}, [])
            else:
                self._send(200, {"content-length": str(len(data))}, [data] if self.command == "GET" else [])

    def _bytecode(self) -> None:
        bytecode = self.server.channel.bytecode
        size, pieces = bytecode.take() if bytecode else (0, iter(()))
        self._send(200, {"content-length": str(size)}, pieces)

    def _keep(self, key: str, length: int) -> None:
        cache = self.server.channel.cache
        if cache is None or length > ENTRY_BYTES:
            self._close(403, "nothing is kept here", length)
            return
        with cache.turns:
            data = self.rfile.read(length)
            if len(data) < length or not cache.put(key, data):
                self._close(400, "that is no key, or no whole entry", 0)
                return
        self._send(201, {}, [])

    def _output(self, filename: str, length: int) -> None:
        try:
            refusal = self.server.channel.take_output(filename, length, self.rfile)
        except StorageFull as error:
            self._close(error.status, error.message)
            return
        if refusal is None:
            self._send(201, {}, [])
        else:
            self._close(400, refusal, length)

    def _facts(self, length: int) -> None:
        if length > _MAX_FACTS:
            self._close(413, "too many facts", length)
            return
        try:
            self.server.channel.take_facts(self.rfile.read(length))
        except ValueError:
            self._close(400, "facts are a JSON object")
        else:
            self._send(201, {}, [])

    def _close(self, status: int, reason: str, length: int = 0) -> None:
        """Refuse; a body is thrown away as far as its sender can be expected to hear the reason."""
        self.close_connection = True
        self.rfile.read(min(length, _MAX_DRAINED))
        self._send(status, {"connection": "close"}, [reason.encode() + b"\n"])

    def _send(self, status: int, headers: Mapping[str, str], body: Iterable[bytes]) -> None:
        self.send_response_only(status)
        known = {name.lower(): value for name, value in headers.items()}
        for name in sorted(_PASSED_OUTWARDS & known.keys()):
            self.send_header(name, known[name])
        if known.get("connection") == "close":
            self.send_header("connection", "close")
        chunked = False
        if status not in (204, 304) and "content-length" not in known:
            if isinstance(body, list):
                self.send_header("content-length", str(sum(map(len, body))))
            else:
                chunked = True
                self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        try:
            for piece in body:
                if piece:
                    self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
            if chunked:
                self.wfile.write(b"0\r\n\r\n")
        except OSError:
            self.close_connection = True  # the peer went away
        except Exception as error:  # noqa: BLE001 - half an answer must not look like a whole one
            _log.warning("index_answer_broken", path=self.path, error=str(error))
            self.server.channel.traffic.index_failures += 1
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Keep the builder's own log free of what a container asks."""
