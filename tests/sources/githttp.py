"""A real git server over HTTP on loopback."""

from __future__ import annotations

import base64
import os
import subprocess
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar


class GitHandler(BaseHTTPRequestHandler):
    server: GitServer

    def log_message(self, *_: object) -> None:
        return

    def _reply(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.seen.append((self.path, self.headers.get("Authorization")))
        self.server.while_serving()
        if self.server.answer is not None:
            self._reply(*self.server.answer)
            return
        if self.server.password is not None:
            expected = base64.b64encode(f"robot:{self.server.password}".encode()).decode()
            given = self.headers.get("Authorization", "")
            if given != f"Basic {expected}":
                # A careless server repeats what it was sent.
                echo = base64.b64decode(given.removeprefix("Basic ")) + given.encode()
                self._reply(401, {"WWW-Authenticate": "Basic", "Content-Type": "text/plain"}, b"No: " + echo)
                return
        path, _, query = self.path.partition("?")
        done = subprocess.run(
            ["git", "http-backend"],
            input=body,
            capture_output=True,
            check=False,
            env={
                "PATH": os.environ["PATH"],
                "GIT_PROJECT_ROOT": str(self.server.root),
                "GIT_HTTP_EXPORT_ALL": "1",
                "GIT_CONFIG_NOSYSTEM": "1",
                "GIT_CONFIG_GLOBAL": "/dev/null",
                "REQUEST_METHOD": self.command,
                "PATH_INFO": path,
                "QUERY_STRING": query,
                "CONTENT_TYPE": self.headers.get("Content-Type", ""),
                "CONTENT_LENGTH": str(len(body)),
                "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
                "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
            },
        )
        head, _, answer = done.stdout.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().splitlines())
        status = int(headers.pop("Status", "200").split()[0])
        self._reply(status, headers, answer)

    do_POST = do_GET  # noqa: N815  (the name http.server looks for)


class GitServer(ThreadingHTTPServer):
    """`git http-backend` behind Basic authentication, where a test says so."""

    daemon_threads = True
    handler: ClassVar[type[BaseHTTPRequestHandler]] = GitHandler

    def __init__(self, root: Path) -> None:
        super().__init__(("127.0.0.1", 0), self.handler)
        self.root, self.scheme = root, "http"
        self.password: str | None = None
        self.answer: tuple[int, dict[str, str], bytes] | None = None
        self.seen: list[tuple[str, str | None]] = []
        self.while_serving: Callable[[], None] = lambda: None

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.server_address[1]}/upstream/.git"
