"""The only door of a container: an HTTP server on a unix socket in a directory of its own.

Inwards it serves the farm's index (`GET /simple/...`, `GET /files/...`), registries (`GET /crates/...`,
`GET /go/...`) and bytecode of the wheels that were fetched (`GET /bytecode`); outwards it takes finished
files (`PUT /out/NAME`) and one small JSON of facts (`PUT /facts`).
Everything is bounded while it streams: the peer is hostile. Listening on a directory's socket, mounted
read-only, works without any network in the container.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import socketserver
import threading
from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, Protocol

from buildfarm import log
from buildfarm.errors import StaleAttempt, StorageFull
from buildfarm.sandbox.bytecode import Bytecode
from buildfarm.sandbox.compilecache import ENTRY_BYTES, CompileCache
from buildfarm.sandbox.doorpaths import asked_name, index_path, is_distribution, is_wheel
from buildfarm.sandbox.port import Index
from buildfarm.sandbox.spec import Limits

_log = log.get(__name__)

SOCKET_NAME = "farm.sock"
#: How many names that nobody has may be asked for. Each is shown to whatever index the farm follows: more
#: than this is no misspelling but a search for names to take, or a message to the outside.
MAX_UNKNOWN = 16

_CACHE = "/cache/"
_TOO_LATE = "the last word was said"
_CHUNK = 256 * 1024
_MAX_FACTS = 64 * 1024
_MAX_DRAINED = 1024 * 1024
_MAX_CONNECTIONS = 64
_IDLE_SECONDS = 120
_PASSED_INWARDS = ("accept", "range", "if-none-match", "if-modified-since", "if-range")
_PASSED_OUTWARDS = {
    "content-type", "content-length", "content-encoding", "content-range", "accept-ranges",
    "etag", "last-modified", "cache-control", "x-pypi-last-serial",
}  # fmt: skip


@dataclass(frozen=True)
class Output:
    """A file that a container handed out, as it lies on the builder."""

    path: Path
    filename: str
    sha256: str


@dataclass
class Traffic:
    """What went through the door; read it after the container has ended."""

    outputs: list[Output] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    refusal: str | None = None
    #: Why this builder could not keep what was handed out.
    failure: str | None = None
    index_failures: int = 0
    index_refusals: int = 0
    #: Projects, crates and Go modules that were asked for and are nowhere, in the order of their asking.
    unknown: list[str] = field(default_factory=list)

    @property
    def has_ended_well(self) -> bool:
        """Whether the container's last word was that all went well; it hands out nothing after that."""
        return self.facts.get("exit_code") == 0

    @property
    def is_probing(self) -> bool:
        """Whether more unknown names were asked for than a build has reason to."""
        return len(self.unknown) > MAX_UNKNOWN


class Channel:
    """One container's door. Use it as a context manager; `traffic` tells what passed.

    Args:
        farm: answers the index requests, from several threads at once.
        directory: an existing, empty directory for the socket; it is mounted into the container.
        outputs: an existing directory, not mounted, in which finished files are put.
        limits: `output_count` and `output_bytes` are kept here, while streaming.
        cache: where compilers find what they made before; None where they have no cache.
        bytecode: what is known of wheels that pass; None where it is of no use.
        accepts: which names files may have that are handed out.
        on_facts: called while the container still waits for the answer to its last word.
    """

    def __init__(
        self,
        farm: Index,
        directory: Path,
        outputs: Path,
        limits: Limits,
        cache: CompileCache | None = None,
        bytecode: Bytecode | None = None,
        *,
        accepts: Callable[[str], bool] = is_distribution,
        on_facts: Callable[[], object] = lambda: None,
    ) -> None:
        self.traffic = Traffic()
        self.cache = cache
        self.bytecode = bytecode
        self._accepts = accepts
        self._farm = farm
        self._outputs = outputs
        self._limits = limits
        self._on_facts = on_facts
        self._lock = threading.Lock()
        self._taken = 0
        self._names: set[str] = set()
        self._known: set[str] = set()
        self._server = _Server(directory, self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True)

    def __enter__(self) -> Channel:
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def index(self, path: str, headers: Mapping[str, str], send: _Sender) -> None:
        """Relay one GET of the index, whose path is one of `index_path`."""
        name = asked_name(path)
        if self.traffic.is_probing and name not in self._known:
            send(429, {}, [b"too many names were asked for that are not there\n"])
            return
        try:
            answer = self._farm.index_get(path, headers)
        except StaleAttempt:
            send(410, {}, [b"this attempt is no longer current\n"])
            return
        except Exception as error:  # noqa: BLE001 - the build gets an answer, the verdict the count
            _log.warning("index_unreachable", path=path, error=str(error))
            with self._lock:
                self.traffic.index_failures += 1
            send(502, {}, [b"the farm's index cannot be reached\n"])
            return
        with self._lock:
            if answer.status == 200:
                self._known.add(name)
            elif answer.status == 404 and name not in {*self._known, *self.traffic.unknown}:
                self.traffic.unknown.append(name)
            self.traffic.index_failures += answer.status >= 500
            self.traffic.index_refusals += answer.status in (401, 403, 451)
        body = answer.body
        if self.bytecode and answer.status == 200 and is_wheel(path):
            body = self.bytecode.passing(body)
        try:
            send(answer.status, answer.headers, body)
        finally:
            for one in (body, answer.body):
                if isinstance(one, Generator):
                    one.close()

    def take_facts(self, body: bytes) -> None:
        """Keep the container's last word.

        Raises:
            ValueError: it is not a JSON object.
        """
        facts = json.loads(body)
        if not isinstance(facts, dict):
            raise ValueError("facts are an object")
        with self._lock:
            self.traffic.facts = facts
        self._on_facts()

    def take_output(self, filename: str, size: int, body: _Readable) -> str | None:
        """Store one finished file; the answer says why it was refused, None that it was taken.

        Raises:
            StorageFull: this builder's disk does not take it.
        """
        refusal = self._reserve(filename, size)
        if refusal is not None:
            with self._lock:
                self.traffic.refusal = self.traffic.refusal or refusal
            return refusal
        path = self._outputs / filename
        digest = hashlib.sha256()
        left = size
        try:
            with path.open("xb") as file:
                while left and (chunk := _piece(body, left)):
                    left -= len(chunk)
                    digest.update(chunk)
                    file.write(chunk)
        except OSError as error:
            path.unlink(missing_ok=True)
            while left and (chunk := _piece(body, left)):
                left -= len(chunk)  # whoever sends it reads no answer before its end
            sentence = f"The builder cannot keep {filename}: {error.strerror}."
            with self._lock:
                self.traffic.failure = sentence
            raise StorageFull(sentence, code="builder.full") from error
        if left:
            path.unlink()
            return f"{filename} ended {left} bytes early"
        with self._lock:
            if self.traffic.facts:
                return _TOO_LATE
            self.traffic.outputs.append(Output(path, filename, digest.hexdigest()))
        return None

    def _reserve(self, filename: str, size: int) -> str | None:
        if not self._accepts(filename):
            return f"{filename[:80]!r} is not the name of a wheel or an sdist"
        with self._lock:
            if self.traffic.facts:
                return _TOO_LATE
            if filename in self._names:
                return f"{filename} was handed out twice"
            if len(self._names) >= self._limits.output_count:
                return f"more than {self._limits.output_count} files were handed out"
            if self._taken + size > self._limits.output_bytes:
                return f"the files handed out are larger than {self._limits.output_bytes} bytes together"
            self._names.add(filename)
            self._taken += size
        return None


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


def _piece(body: _Readable, left: int) -> bytes:
    try:
        return body.read(min(left, _CHUNK))
    except OSError:
        return b""  # the peer went away, or says nothing


_Sender = Callable[[int, Mapping[str, str], Iterable[bytes]], None]


_Request = socket.socket | tuple[bytes, socket.socket]  # as the base class has it


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
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
        self._slots.acquire()  # more connections wait in the backlog: threads stay bounded
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._slots.release()
            raise

    def process_request_thread(self, request: _Request, client_address: object) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._slots.release()

    def handle_error(self, request: _Request, client_address: object) -> None:
        _log.info("channel_connection_broken", exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "buildfarm"
    sys_version = ""
    timeout = _IDLE_SECONDS
    server: _Server
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
