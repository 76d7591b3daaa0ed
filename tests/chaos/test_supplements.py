"""What upstream has only as source becomes a wheel of ours, beside upstream's files."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from chaos_harness import BUILDFARM, ENDS, Farm
from chaos_repository import BACKEND, PROJECT

from tests.waiting import wait_for

pytestmark = [pytest.mark.system, pytest.mark.engine, pytest.mark.exhaustive, pytest.mark.timeout(300)]
SDIST = "gizmo-1.5.tar.gz"


def sdist() -> bytes:
    texts = {
        "PKG-INFO": "Metadata-Version: 2.2\nName: gizmo\nVersion: 1.5\n",
        "pyproject.toml": PROJECT.format(name="gizmo", version="1.5", seconds=0.0),
        "backend.py": BACKEND,
    }
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz", format=tarfile.PAX_FORMAT) as archive:
        for name, text in texts.items():
            member = tarfile.TarInfo(f"gizmo-1.5/{name}")
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))
    return out.getvalue()


@pytest.fixture
def upstream() -> Iterator[str]:
    """An index that has one project, as source alone."""
    body = sdist()
    entry = {"filename": SDIST, "url": f"/files/{SDIST}", "size": len(body)}
    entry["hashes"] = {"sha256": hashlib.sha256(body).hexdigest()}
    page = json.dumps({"meta": {"api-version": "1.1"}, "name": "gizmo", "files": [entry]}).encode()
    served = {
        "/simple/gizmo/": (page, "application/vnd.pypi.simple.v1+json"),
        f"/files/{SDIST}": (body, "application/gzip"),
    }

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content, kind = served.get(self.path, (b"", "text/plain"))
            self.send_response(200 if content else 404)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/simple"
    server.shutdown()
    server.server_close()


def test_an_sdist_of_upstream_becomes_a_wheel_in_the_union(make_farm, upstream, tmp_path: Path) -> None:
    farm: Farm = make_farm(BUILDFARM_MIRROR__UPSTREAMS=json.dumps([upstream]))
    farm.start()
    wanted = {"project": "Gizmo", "version": "1.5"}
    build_id = farm.api("POST", "channels/all/supplements", json=wanted)["build_id"]
    assert farm.api("POST", "channels/mirror/supplements", json=wanted)["build_id"] == build_id
    build = wait_for(lambda: _ended(farm, build_id), "the build to end", 120)
    assert build["state"] == "published", build
    assert [file["filename"] for file in build["files"]] == ["gizmo-1.5-py3-none-any.whl"]

    page = farm.session.get(f"{farm.url}/all/simple/gizmo/?format=application/vnd.pypi.simple.v1+json").json()
    assert {file["filename"] for file in page["files"]} == {SDIST, "gizmo-1.5-py3-none-any.whl"}
    index = f"{farm.url}/all/simple/".replace("://", f"://__token__:{farm.token}@")
    into = tmp_path / "into"
    pip = [sys.executable, "-m", "pip", "install", "--no-deps", "--only-binary", ":all:", "--target", into]
    subprocess.run([*pip, "--index-url", index, "gizmo"], check=True, capture_output=True, timeout=120)
    assert (into / "gizmo" / "__init__.py").is_file()

    wheel = farm.session.get(f"{farm.url}/all/files/gizmo/gizmo-1.5-py3-none-any.whl").content
    (tmp_path / "gizmo-1.5-py3-none-any.whl").write_bytes(wheel)
    checked = subprocess.run(
        [str(BUILDFARM), "verify", "--json", "gizmo-1.5-py3-none-any.whl",
         "--index", f"{farm.url}/all/simple/"],
        cwd=tmp_path, capture_output=True, text=True, timeout=120,
        env={**farm.environment, "BUILDFARM_URL": farm.url, "BUILDFARM_TOKEN": farm.token,
             "HOME": str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "pkg:pypi/gizmo" in checked.stdout


def _ended(farm: Farm, build_id: str) -> dict[str, object] | None:
    build: dict[str, object] = farm.get(f"builds/{build_id}")
    return build if build["state"] in ENDS else None
