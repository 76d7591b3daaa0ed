from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from buildfarm import clock
from buildfarm.index import channels, names
from buildfarm.index.model import File, Release
from buildfarm.index.pagetree import PageTree
from buildfarm.journal.record import record


@dataclass
class Stub:
    """An upstream index that says whatever a test wants; `asked` has the paths of all requests."""

    url: str
    pages: dict[str, tuple[int, dict[str, str], bytes]] = field(default_factory=dict)
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    before: Callable[[str], None] = lambda _path: None

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
        def handle_error(self, *_args: object) -> None:
            """Clients that give up in the middle are what the tests are about."""

    server = Server(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    stub = Stub(f"http://127.0.0.1:{server.server_address[1]}/simple")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield stub
    server.shutdown()
    server.server_close()


@pytest.fixture
def put() -> Callable[..., str]:
    """Puts a file into a channel as publishing does, without a build; gives its SHA-256."""

    def put_one(house, filename: str, data: bytes, *, channel: str = "dev", metadata: bytes | None = None,
                requires_python: str | None = None, provenance: bytes | None = None) -> str:  # fmt: skip
        project, version = filename.removesuffix(".tar.gz").split("-")[:2]
        project = project.replace("_", "-")
        blobs = house.farm.blobs
        sha256 = blobs.put_bytes(data)
        with house.database.begin() as session:
            release = session.query(Release).filter_by(project=project, version=version).first()
            if release is None:
                names.add_local(session, project, project, actor="test")
                release = Release(
                    id=f"rel_{project}_{version}", project=project, version=version, created_at=clock.now()
                )
                session.add(release)
                session.flush()
            session.add(
                File(
                    filename=filename, release_id=release.id, sha256=sha256, size=len(data),
                    requires_python=requires_python, uploaded_at=clock.now(),
                    metadata_sha256=blobs.put_bytes(metadata) if metadata is not None else None,
                    bundle_sha256=blobs.put_bytes(provenance) if provenance else None,
                    provenance_sha256=blobs.put_bytes(provenance) if provenance else None,
                )
            )  # fmt: skip
            session.flush()
            record(
                session, "publish", project=project,
                on_serial=channels.entering(session, channel, [filename]),
            )  # fmt: skip
        house.follower.catch_up()
        return sha256

    return put_one


@pytest.fixture
def tmp_tree(tmp_path: Path) -> PageTree:
    return PageTree(tmp_path / "pages")
