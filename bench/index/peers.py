"""The servers that ours is measured against; their configurations lie in `bench/peers`."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import requests

from bench.index.load import FILE, HTML_PAGE, PAGE, fetch
from bench.index.process import Server, free_port, running, tree
from bench.index.wheels import metadata_version

_BENCH = Path(__file__).resolve().parents[1]
_INSTALLED = _BENCH.parent / ".cache" / "bench"
DEVPI_INDEX = "/bench/dev/"
JSON = "application/vnd.pypi.simple.v1+json"


@contextmanager
def nginx(folder: Path, configuration: str, *, answers: str = "/", **words: object) -> Iterator[Server]:
    """nginx with one of the configurations of `bench/peers`."""
    (folder / "www").mkdir(parents=True, exist_ok=True)
    port = free_port()
    text = (_BENCH / "peers" / configuration).read_text()
    for word, value in {"folder": folder, "port": port, **words}.items():
        text = text.replace(f"@{word.upper()}@", str(value))
    filled = folder / "nginx.conf"
    filled.write_text(text)
    command = ["nginx", "-e", folder / "error.log", "-c", filled, "-g", "daemon off;"]
    url = f"http://127.0.0.1:{port}"
    with running(command, log=folder / "out.log", answers=url + answers) as process:
        yield Server("nginx", url, f"nginx -c bench/peers/{configuration}", lambda: tree(process.pid))


def copy_channel(
    source: Server, channel: str, names: Iterable[str], www: Path, *, listed: Iterable[str] = ()
) -> None:
    """Copy the root list, pages and files of a channel as the server sends them, for nginx to serve.

    Of the projects `listed` only the pages.
    """
    whole = set(names)
    for name in ("", *whole, *listed):
        path = f"/{channel}/simple/{name}/" if name else f"/{channel}/simple/"
        for form, headers in (("json", PAGE), ("html", HTML_PAGE)):
            answer = fetch(source, path, headers)
            place = www / path.strip("/") / f"index.{form}"
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(answer.body)
            place.with_name(place.name + ".gz").write_bytes(answer.raw)
        if name in whole:
            _copy_files(source, path, www)


def project_names(source: Server, channel: str) -> list[str]:
    """The projects that a channel lists."""
    return [one["name"] for one in fetch_json(source, f"/{channel}/simple/")["projects"]]


def fetch_json(source: Server, path: str) -> dict[str, Any]:
    """A page as JSON."""
    answer = fetch(source, path, {"Accept": JSON})
    if answer.status != 200:
        raise SystemExit(f"bench: {source.name} answered {answer.status} for {path}: {answer.body[:500]!r}")
    page: dict[str, Any] = json.loads(answer.body)
    return page


def _copy_files(source: Server, path: str, www: Path) -> None:
    for file in fetch_json(source, path)["files"]:
        where = urljoin(path, file["url"])
        place = www / where.strip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(fetch(source, where, FILE).body)
        if file.get("core-metadata"):
            place.with_name(place.name + ".metadata").write_bytes(
                fetch(source, where + ".metadata", FILE).body
            )


@contextmanager
def devpi(folder: Path) -> Iterator[Server]:
    """devpi-server with an empty index at /bench/dev; its headers carry a login token."""
    programs, port = _INSTALLED / "devpi-server" / "bin", free_port()
    folder.mkdir(parents=True, exist_ok=True)
    place = ["--serverdir", str(folder / "server")]
    quiet = {**os.environ, "PYTHONWARNINGS": "ignore"}
    subprocess.run(
        [programs / "devpi-init", *place, "--no-root-pypi"], check=True, capture_output=True, env=quiet
    )
    url = f"http://127.0.0.1:{port}"
    command = [programs / "devpi-server", *place, "--host", "127.0.0.1", "--port", str(port)]
    with running(command, log=folder / "log", answers=f"{url}/+api", env=quiet) as process:
        root = {"Authorization": _login(url, "root", "")}
        for path, body in (("bench", {"password": "bench"}), ("bench/dev", {"bases": []})):
            requests.put(f"{url}/{path}", json=body, headers=root, timeout=60).raise_for_status()
        headers = {"Authorization": _login(url, "bench", "bench")}
        described = "devpi-server --serverdir DIR (defaults)"
        yield Server("devpi-server", url, described, lambda: tree(process.pid), headers)


def upload(server: Server, path: str, filename: str, body: bytes) -> None:
    """One wheel by the upload API that twine and uv speak."""
    project, version = filename.split("-")[:2]
    fields = {
        ":action": "file_upload",
        "protocol_version": "1",
        "filetype": "bdist_wheel",
        "pyversion": "py3",
        "metadata_version": metadata_version(body),
        "name": project,
        "version": version,
        "sha256_digest": hashlib.sha256(body).hexdigest(),
    }
    answer = requests.post(
        server.url + path,
        data=fields,
        files={"content": (filename, body, "application/octet-stream")},
        headers=dict(server.headers),
        timeout=300,
    )
    if answer.status_code != 200:
        raise SystemExit(f"bench: {server.name} refused {filename}: {answer.status_code} {answer.text[:500]}")


def _login(url: str, user: str, password: str) -> str:
    """A login token as a Basic header, so that no upload pays for hashing a password."""
    answer = requests.post(f"{url}/+login", json={"user": user, "password": password}, timeout=60)
    token = answer.json()["result"]["password"]
    return "Basic " + base64.b64encode(f"{user}:{token}".encode()).decode()


@contextmanager
def pypiserver(folder: Path, wheels: Mapping[str, bytes]) -> Iterator[Server]:
    """pypiserver over a folder of wheels."""
    packages, port = folder / "packages", free_port()
    packages.mkdir(parents=True, exist_ok=True)
    for filename, body in wheels.items():
        (packages / filename).write_bytes(body)
    program = _INSTALLED / "pypiserver" / "bin" / "pypi-server"
    command = [program, "run", "-i", "127.0.0.1", "-p", str(port), packages]
    url = f"http://127.0.0.1:{port}"
    with running(command, log=folder / "log", answers=f"{url}/simple/") as process:
        yield Server("pypiserver", url, "pypi-server run -p PORT DIR (defaults)", lambda: tree(process.pid))


@contextmanager
def proxpi(folder: Path, upstream: str) -> Iterator[Server]:
    """proxpi in front of an upstream index."""
    cache, port = folder / "cache", free_port()
    cache.mkdir(parents=True, exist_ok=True)
    environment = {
        **os.environ,
        "PROXPI_INDEX_URL": upstream,
        "PROXPI_CACHE_DIR": str(cache),
        # It redirects a client to the upstream when a file takes longer; then nothing is cached.
        "PROXPI_DOWNLOAD_TIMEOUT": "60",
    }
    program = _INSTALLED / "proxpi" / "bin" / "gunicorn"
    command = [program, "--bind", f"127.0.0.1:{port}", "--worker-class", "gthread", "--threads", "8",
               "--no-control-socket", "proxpi.server:app"]  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    described = "gunicorn --worker-class gthread --threads 8 proxpi.server:app"
    # It refuses whoever names no type (406).
    accepts = {"Accept": "text/html"}
    with running(
        command, log=folder / "log", answers=f"{url}/index/", headers=accepts, env=environment
    ) as process:
        yield Server("proxpi", url, described, lambda: tree(process.pid))
