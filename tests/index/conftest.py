from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from buildfarm import clock
from buildfarm.index import channels, names
from buildfarm.index.model import File, Release
from buildfarm.index.pagetree import PageTree
from buildfarm.journal.record import record
from tests.conftest import ROOT


@pytest.fixture(scope="session")
def put() -> Callable[..., str]:
    """Puts a file into a channel."""
    return put_one


def put_one(house, filename: str, data: bytes, *, channel: str = "dev", metadata: bytes | None = None,
            requires_python: str | None = None, provenance: bytes | None = None) -> str:  # fmt: skip
    """Put a file into a channel as publishing does, without a build; gives its SHA-256."""
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
            session, "publish", project=project, version=version, channel=channel,
            on_serial=channels.entering(session, channel, [filename]),
        )  # fmt: skip
    house.follower.catch_up()
    return sha256


@pytest.fixture
def tmp_tree(tmp_path: Path) -> PageTree:
    return PageTree(tmp_path / "pages")


@pytest.fixture(scope="session")
def programs() -> Path:
    """The folder of the clients' commands, in an environment of their own; made once for each lock file."""
    pinned = ROOT / "requirements" / "publishers.txt"
    home = ROOT / ".cache" / "publishers"
    stamp = home / f".{hashlib.sha256(pinned.read_bytes()).hexdigest()[:16]}"
    if not stamp.is_file():
        uv = [sys.executable, "-m", "uv", "--no-config"]
        subprocess.run([*uv, "venv", "--clear", "--quiet", home], check=True)
        python = home / "bin" / "python"
        install = ["pip", "install", "--quiet", "--require-hashes", "-r", pinned, "--python", python]
        subprocess.run([sys.executable, "-m", "uv", *install], check=True)
        stamp.touch()
    return home / "bin"
