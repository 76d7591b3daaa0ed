from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.index.conftest import put  # noqa: F401 - the same fixture


@dataclass
class Stub:
    """An upstream index that says whatever a test wants; `asked` has the paths of all requests."""

    url: str
    pages: dict[str, tuple[int, dict[str, str], bytes]] = field(default_factory=dict)
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    before: Callable[[str], None] = lambda _path: None
    #: Paths that answer by hand, byte by byte if they like.
    acts: dict[str, Callable[[BaseHTTPRequestHandler], None]] = field(default_factory=dict)

    def page(self, name: str, *files: dict[str, Any], **more: Any) -> None:
        body = json.dumps({"meta": {"api-version": "1.1"}, "name": name, "files": list(files)}).encode()
        headers = {"Content-Type": "application/vnd.pypi.simple.v1+json", **more}
        self.pages[f"/simple/{name}/"] = (200, headers, body)

    def put(
        self, path: str, body: bytes, content_type: str = "application/octet-stream", status: int = 200
    ) -> None:
        self.pages[path] = (status, {"Content-Type": content_type}, body)

    def paths(self) -> list[str]:
        return [path for path, _headers in self.asked]


@pytest.fixture
def upstream() -> Iterator[Stub]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            stub.asked.append((self.path, dict(self.headers)))
            stub.before(self.path)
            if self.path in stub.acts:
                self.close_connection = True
                stub.acts[self.path](self)
                return
            status, headers, body = stub.pages.get(self.path, (404, {}, b"none"))
            if "ETag" in headers and self.headers.get("If-None-Match") == headers["ETag"]:
                status, body = 304, b""
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_args: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def shutdown_request(self, request: Any) -> None:
            super().shutdown_request(request)
            taken.discard(request)

        def process_request(self, request: Any, client_address: Any) -> None:
            taken.add(request)
            super().process_request(request, client_address)

        def handle_error(self, *_args: object) -> None:
            """Clients that give up in the middle are what the tests are about."""

    taken: set[socket.socket] = set()
    server = Server(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    stub = Stub(f"http://127.0.0.1:{server.server_address[1]}/simple")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield stub
    server.shutdown()
    for kept_alive in list(taken):
        with contextlib.suppress(OSError):
            kept_alive.shutdown(socket.SHUT_RDWR)
    server.server_close()
