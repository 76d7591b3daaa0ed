"""What the tour and the build of the world share: a farm, git repositories made of releases, commands."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urljoin

import requests
from packaging.utils import InvalidSdistFilename, parse_sdist_filename

from buildfarm.config import pip_index_url

CHECKOUT = Path(__file__).resolve().parents[2]
BUILDFARM = CHECKOUT / ".venv" / "bin" / "buildfarm"
PORT = int(os.environ.get("DEMO_PORT", "8080"))


def run(*command: str | Path, quiet: bool = True, **more: object) -> str:
    """Run a command; its output is shown when it fails."""
    done = subprocess.run(
        [str(part) for part in command],
        text=True,
        stdout=subprocess.PIPE if quiet else None,
        stderr=subprocess.STDOUT if quiet else None,
        **more,
    )
    if done.returncode:
        print(done.stdout or "", file=sys.stderr)
        raise SystemExit(f"this failed with {done.returncode}: {' '.join(map(str, command))}")
    return done.stdout or ""


def clean_environment(home: Path, **more: str) -> dict[str, str]:
    """No configuration of this machine's pip, uv or git may help along."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PIP_", "UV_", "GIT_", "BUILDFARM_", "PYTHON"))
    }
    return {
        **kept,
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "UV_NO_CONFIG": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "HOME": str(home),
        **more,
    }


def fetch_sdist(project: str, folder: Path, version: str | None = None) -> tuple[Path, str]:
    """An sdist, the newest by default, of a project from the index that pip uses here; unpacked.

    Answers its folder and its version.
    """
    page_url = f"{pip_index_url()}/{project.lower()}/"
    accept = {"Accept": "application/vnd.pypi.simple.v1+json"}
    files = requests.get(page_url, headers=accept, timeout=60).json()["files"]
    sdists = {}
    for file in files:
        if file["filename"].endswith(".tar.gz") and not file.get("yanked"):
            with contextlib.suppress(InvalidSdistFilename):  # of long ago
                sdists[parse_sdist_filename(file["filename"])[1]] = file
    newest = max(sdists, key=lambda one: (not one.is_prerelease, one))
    chosen = next(one for one in sdists if str(one) == version) if version else newest
    file = sdists[chosen]
    archive = folder / file["filename"]
    archive.write_bytes(requests.get(urljoin(page_url, file["url"]), timeout=60).content)
    with tarfile.open(archive) as tar:
        tar.extractall(folder)  # noqa: S202 - a release of a project we chose
    archive.unlink()
    return folder / file["filename"].removesuffix(".tar.gz"), str(chosen)


def make_repositories(upstream: Path, version: str, name: str, folder: Path) -> tuple[Path, Path]:
    """A bare repository as a git server has it, and a clone as a developer has it."""
    bare, clone = folder / "git" / f"{name}.git", folder / "work" / name
    git(folder, "init", "--quiet", "--bare", "--initial-branch=main", bare)
    git(folder, "clone", "--quiet", bare, clone)
    shutil.copytree(upstream, clone, dirs_exist_ok=True, symlinks=True)
    (clone / "PKG-INFO").unlink(missing_ok=True)  # an sdist's, which no repository has
    git(clone, "checkout", "--quiet", "-B", "main")
    git(clone, "add", "--all", "--force")
    git(clone, "commit", "--quiet", "--message", f"{name} {version}")
    git(clone, "push", "--quiet", "origin", "main")
    return bare, clone


def git(folder: Path, *arguments: str | Path) -> str:
    """A git command as the developer of these repositories."""
    identity = ("-c", "user.name=Dev Eloper", "-c", "user.email=dev@corp.example")
    return run("git", "-C", folder, *identity, *arguments, env=clean_environment(folder))


@contextlib.contextmanager
def farm(folder: Path) -> Iterator[dict[str, str]]:
    """A running farm with its data in `folder`, and what its ready file says."""
    ready, port = folder / "ready.json", free_port()
    ready.unlink(missing_ok=True)
    environment = dict(os.environ) | {"BUILDFARM_SOURCES_ALLOW_FILE": "1"}
    command = [BUILDFARM, "up", "--data", folder / "farm", "--port", str(port), "--ready-file", ready]
    with (folder / "up.log").open("w") as out:
        process = subprocess.Popen([str(part) for part in command], env=environment, stdout=out, stderr=out)
    try:
        deadline = time.monotonic() + 120
        while not ready.exists():
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit((folder / "up.log").read_text()[-3000:] + "\nthe farm did not start")
            time.sleep(0.1)
        yield json.loads(ready.read_text())
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)


def free_port() -> int:
    """The usual port, or any when it is taken."""
    for port in (PORT, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise SystemExit("there is no free port")
