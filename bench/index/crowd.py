"""A hundred clients that ask at once for a file which the mirror does not have; the upstream is ours."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections import Counter
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from bench.index.process import Server
from bench.index.wheels import some_wheel

CLIENTS = 100
DESCRIBED = f"{CLIENTS} GETs at once of a 2 MB file nobody asked for before (bench/index/crowd.py)"
_SIZE = 2_000_000
_PIECE = 64 * 1024
#: The upstream rests between pieces, so that whoever waits for the whole file is seen to.
_REST_S = 0.01


@dataclass
class SlowUpstream:
    """A simple index of a few projects, one wheel each; notes who asks, and when it sent a first byte."""

    wheels: dict[str, tuple[str, bytes]]
    asked: Counter[str] = field(default_factory=Counter)
    began: dict[str, float] = field(default_factory=dict)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection of the mirror."""
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                await self._answer(head.split(b" ")[1].decode(), writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def _answer(self, path: str, writer: asyncio.StreamWriter) -> None:
        project = path.strip("/").split("/")[1]
        filename, body = self.wheels.get(project, ("", b""))
        if path == f"/simple/{project}/" and filename:
            await _send(writer, "200 OK", "application/vnd.pypi.simple.v1+json", self._page(project))
        elif filename and path == f"/files/{project}/{filename}":
            self.asked[project] += 1
            writer.write(_head("200 OK", "application/octet-stream", len(body)))
            self.began[project] = time.monotonic()
            for start in range(0, len(body), _PIECE):
                writer.write(body[start : start + _PIECE])
                await writer.drain()
                await asyncio.sleep(_REST_S)
        else:
            await _send(writer, "404 Not Found", "text/plain", b"There is no such thing.\n")

    def _page(self, project: str) -> bytes:
        filename, body = self.wheels[project]
        file = {
            "filename": filename,
            "url": f"../../files/{project}/{filename}",
            "hashes": {"sha256": hashlib.sha256(body).hexdigest()},
            "size": len(body),
            "upload-time": "2024-01-01T00:00:00.000000Z",
            "yanked": False,
            "core-metadata": False,
        }
        page = {"meta": {"api-version": "1.4"}, "name": project, "versions": ["1.0"], "files": [file]}
        return json.dumps(page).encode()


@dataclass(frozen=True)
class Crowd:
    """What became of one file."""

    delay_ms: float
    fetches: int


def measure(server: Server, port: int, runs: int) -> list[Crowd]:
    """One crowd for each of so many files; the server's upstream is the index at that port.

    `server` must have been told so; the index answers only while this runs.
    """
    projects = [f"cold{number}" for number in range(runs)]
    return asyncio.run(_measure(server, port, {one: some_wheel(one, "1.0", _SIZE) for one in projects}))


async def _measure(server: Server, port: int, wheels: dict[str, tuple[str, bytes]]) -> list[Crowd]:
    upstream = SlowUpstream(wheels)
    async with await asyncio.start_server(upstream.serve, "127.0.0.1", port):
        return [await _crowd(server, upstream, project) for project in wheels]


async def _crowd(server: Server, upstream: SlowUpstream, project: str) -> Crowd:
    """Have all clients ask for the project's file; every one must get its bytes whole."""
    filename, body = upstream.wheels[project]
    await _get(server, f"/mirror/simple/{project}/")
    answers = await asyncio.gather(
        *(_get(server, f"/mirror/files/{project}/{filename}") for _ in range(CLIENTS))
    )
    if any(received != body for _, received in answers):
        raise SystemExit(f"bench: not every client got {filename} whole")
    first = min(at for at, _ in answers)
    return Crowd((first - upstream.began[project]) * 1e3, upstream.asked[project])


async def _get(server: Server, path: str) -> tuple[float, bytes]:
    """When the first byte of the body came, and the body."""
    parts = urlsplit(server.url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    headers = {**server.headers, "Host": parts.netloc, "Accept": "*/*", "Connection": "close"}
    lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    writer.write("\r\n".join(lines).encode())
    head = await reader.readuntil(b"\r\n\r\n")
    if b" 200 " not in head.split(b"\r\n")[0]:
        raise SystemExit(f"bench: {path} was answered with {head.decode()}")
    start = await reader.read(1)
    at = time.monotonic()
    body = start + await reader.read()
    writer.close()
    return at, body


async def _send(writer: asyncio.StreamWriter, status: str, kind: str, body: bytes) -> None:
    writer.write(_head(status, kind, len(body)) + body)
    await writer.drain()


def _head(status: str, kind: str, length: int) -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n".encode()
