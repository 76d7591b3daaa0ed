"""Real repositories made on the spot, and a fetcher to try on them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from buildfarm.sources.contract import FetchRequest, Snapshot
from buildfarm.sources.fetcher import fetch_snapshot

GIT_ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "HOME": "/nonexistent",
    "LC_ALL": "C.UTF-8",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_AUTHOR_NAME": "A U Thor",
    "GIT_AUTHOR_EMAIL": "author@example.org",
    "GIT_COMMITTER_NAME": "C O Mitter",
    "GIT_COMMITTER_EMAIL": "committer@example.org",
}


class Upstream:
    """Somebody's repository with a working tree."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.clock = 1_700_000_000
        path.mkdir(parents=True)
        self.git("init", "--quiet", "--initial-branch=main", ".")

    @property
    def url(self) -> str:
        return f"file://{self.path}"

    def git(self, *arguments: str, stdin: bytes = b"") -> str:
        dates = {"GIT_AUTHOR_DATE": f"{self.clock} +0000", "GIT_COMMITTER_DATE": f"{self.clock} +0000"}
        done = subprocess.run(
            ["git", *arguments],
            cwd=self.path,
            env={**GIT_ENVIRONMENT, **dates},
            input=stdin,
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, (arguments, done.stderr.decode())
        return done.stdout.decode("utf-8", "surrogateescape").strip()

    def write(self, name: str, content: str | bytes) -> None:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)

    def commit(self, message: str = "Change something", **files: str) -> str:
        """Commit everything that is there (and NAME=content files), a minute after the last commit."""
        for name, content in files.items():
            self.write(name, content)
        self.clock += 60
        self.git("add", "--all", "--force")
        self.git("commit", "--quiet", "--allow-empty", "--message", message)
        return self.git("rev-parse", "HEAD")

    def commits(self, count: int) -> str:
        """Many commits at once, through fast-import."""
        branch, tip = self.git("symbolic-ref", "HEAD"), self.git("rev-parse", "HEAD")
        stream = []
        for number in range(count):
            self.clock += 60
            stream.append(
                f"commit {branch}\ncommitter C <c@example.org> {self.clock} +0000\ndata 1\nx\n"
                + (f"from {tip}\n" if number == 0 else "")
            )
        self.git("fast-import", "--quiet", stdin="".join(stream).encode())
        return self.git("rev-parse", "HEAD")


@pytest.fixture
def upstream(tmp_path: Path) -> Upstream:
    repository = Upstream(tmp_path / "upstream")
    repository.commit("Begin", a="1\n")
    return repository


@pytest.fixture
def new_upstream(tmp_path: Path) -> Callable[[str], Upstream]:
    return lambda name: Upstream(tmp_path / name)


@pytest.fixture
def ask(upstream: Upstream, tmp_path: Path) -> Callable[..., FetchRequest]:
    """A request for the upstream's branch main unless told otherwise."""

    def make(**changes: object) -> FetchRequest:
        usual = {
            "url": upstream.url,
            "ref": "refs/heads/main",
            "mirror_dir": tmp_path / "mirror",
            "allow_file": True,
        }
        return FetchRequest.model_validate({**usual, **changes})

    return make


@pytest.fixture
def take(ask: Callable[..., FetchRequest], tmp_path: Path) -> Callable[..., Snapshot]:
    """Fetch a snapshot into a fresh file."""
    numbers = iter(range(1_000))

    def fetch(**changes: object) -> Snapshot:
        return fetch_snapshot(ask(**changes), tmp_path / f"snapshot-{next(numbers)}.tar")

    return fetch


@pytest.fixture
def unpack(tmp_path: Path) -> Callable[[Snapshot], Path]:
    """Unpack a snapshot as whoever runs the tests and return its `src`."""

    def extract(snapshot: Snapshot) -> Path:
        folder = tmp_path / f"unpacked-{snapshot.sha256[:12]}"
        folder.mkdir()
        subprocess.run(
            ["tar", "--extract", "--no-same-owner", "--file", snapshot.path], cwd=folder, check=True
        )
        return folder / "src"

    return extract


@pytest.fixture
def git_in() -> Callable[..., str]:
    """Run git in a folder with nobody's configuration."""

    def run(folder: Path, *arguments: str) -> str:
        done = subprocess.run(
            ["git", *arguments], cwd=folder, env=GIT_ENVIRONMENT, capture_output=True, check=False
        )
        assert done.returncode == 0, (arguments, done.stderr.decode())
        return done.stdout.decode("utf-8", "surrogateescape").strip()

    return run
