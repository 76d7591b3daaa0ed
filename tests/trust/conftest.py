from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import os
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from buildfarm.errors import ExternalFailure
from buildfarm.index.publish import Publisher
from buildfarm.journal import merkle
from buildfarm.trust import bundle, root
from buildfarm.trust.client import SignerClient
from buildfarm.trust.facts import BuildFacts
from buildfarm.trust.messages import CheckpointRequest, EntryProof, SignedCheckpoint
from buildfarm.trust.mint import Attested
from buildfarm.trust.report import Policy
from buildfarm.trust.vault import Vault

FARM = "https://farm.example"
WHEEL = "demo-1.0-cp313-cp313-manylinux_2_28_x86_64.whl"


def make_facts(**changes: Any) -> BuildFacts:
    values: dict[str, Any] = {
        "attempt_key": "job_1/1",
        "filename": WHEEL,
        "project": "demo",
        "version": "1.0",
        "source_uri": "git+https://ghe.example/acme/demo",
        "ref": "refs/tags/v1.0",
        "commit": "a" * 40,
        "recipe_uri": "git+https://ghe.example/acme/demo",
        "recipe_path": "buildfarm.toml",
        "recipe_sha256": "b" * 64,
        "target": "cp313-manylinux_2_28_x86_64",
        "inputs": {"debug": "no"},
        "trigger": "webhook:gitlab",
        "delivery_id": "dlv_1",
        "channel": "dev",
        "limits": {"memory": "4g", "cpus": "2", "seconds": "1800"},
        "network": "none",
        "source_date_epoch": 1760000000,
        "image_uri": f"docker://{FARM.removeprefix('https://')}/images/manylinux_2_28_x86_64",
        "image_sha256": "c" * 64,
        "snapshot_sha256": "d" * 64,
        "dependencies": [
            {
                "ecosystem": "pypi",
                "name": "setuptools",
                "version": "80.9.0",
                "filename": "setuptools-80.9.0-py3-none-any.whl",
                "sha256": "e" * 64,
                "index_uri": f"{FARM}/all/simple/",
            }
        ],
        "builder_name": "builder-1",
        "builder_tier": "release",
        "execution": "native",
        "builder_versions": {"docker": "29.1", "kernel": "6.12"},
        "build_url": f"{FARM}/builds/bld_1",
        "attempt_url": f"{FARM}/builds/bld_1/attempts/1",
        "started_at": dt.datetime(2026, 11, 24, 2, tzinfo=dt.UTC),
        "finished_at": dt.datetime(2026, 11, 24, 2, 5, tzinfo=dt.UTC),
        "log_url": f"{FARM}/builds/bld_1/log",
        "log_sha256": "f" * 64,
        "identity": f"{FARM}/projects/demo/recipes/default",
        "farm_version": "0.1.0",
    }
    return BuildFacts.model_validate(values | changes)


@dataclass
class Log:
    """What the journal keeps: leaves and complete nodes."""

    leaves: list[bytes] = field(default_factory=list)
    nodes: dict[tuple[int, int], bytes] = field(default_factory=dict)

    def append(self, leaf: bytes) -> int:
        for level, index, value in merkle.appended(len(self.leaves), merkle.leaf_hash(leaf), self.get):
            self.nodes[level, index] = value
        self.leaves.append(leaf)
        return len(self.leaves) - 1

    def get(self, level: int, index: int) -> bytes:
        return self.nodes[level, index]

    @property
    def size(self) -> int:
        return len(self.leaves)

    @property
    def root(self) -> bytes:
        return merkle.root(self.size, self.get)

    def consistency(self, old: int) -> list[bytes]:
        return merkle.consistency_proof(old, self.size, self.get)

    def proof(self, index: int) -> list[bytes]:
        return merkle.inclusion_proof(index, self.size, self.get)

    def entry(self, attested: Attested, index: int) -> EntryProof:
        digest = hashlib.sha256(attested.entry_body).hexdigest()
        return EntryProof(entry_body_sha256=digest, log_index=index, inclusion_proof=tuple(self.proof(index)))

    def request(self, *entries: EntryProof, old_size: int = 0) -> CheckpointRequest:
        return CheckpointRequest(
            size=self.size,
            root=self.root,
            old_size=old_size,
            consistency_proof=tuple(self.consistency(old_size)) if old_size else (),
            entries=entries,
        )


@dataclass
class Published:
    """A file as the index has it after publishing, and the log around it."""

    data: bytes
    bundle: bytes
    attested: Attested
    checkpoint: SignedCheckpoint
    index: int
    root: root.TrustedRoot
    root_path: Path
    log: Log


def attest(vault: Vault, folder: Path, data: bytes, facts: BuildFacts) -> Attested:
    path = folder / "candidate"
    path.write_bytes(data)
    with path.open("rb") as file:
        return vault.attest(facts, file.fileno())


def publish(vault: Vault, folder: Path, log: Log, data: bytes, facts: BuildFacts) -> Published:
    attested = attest(vault, folder, data, facts)
    index = log.append(attested.entry_body)
    log.append(b'{"kind":"release.publish"}')
    signed = vault.checkpoint(
        log.request(log.entry(attested, index), old_size=vault.health()["checkpoint_size"])
    )
    path = folder / "trusted_root.json"
    path.write_text(vault.health()["documents"]["trusted_root.json"])
    made = bundle.assemble(attested, signed, index, log.proof(index))
    return Published(data, made, attested, signed, index, root.load(path), path, log)


@pytest.fixture(scope="session")
def kit() -> SimpleNamespace:
    """What tests share by name: test modules cannot import one another here."""
    return SimpleNamespace(
        FARM=FARM, WHEEL=WHEEL, Log=Log, make_facts=make_facts, attest=attest, publish=publish
    )


@pytest.fixture
def vault(tmp_path: Path) -> Iterator[Vault]:
    folder = tmp_path / "signer"
    folder.mkdir(mode=0o700)
    vault = Vault(folder, FARM)
    yield vault
    vault.close()


@pytest.fixture
def published(vault: Vault, tmp_path: Path) -> Published:
    log = Log()
    for number in range(5):
        log.append(f"earlier row {number}".encode())
    return publish(vault, tmp_path, log, b"wheel bytes", make_facts())


@pytest.fixture
def policy() -> Policy:
    return Policy(issuers=frozenset({FARM}))


@dataclass
class Process:
    """A running signer."""

    process: subprocess.Popen[bytes]
    data: Path
    socket: Path
    client: SignerClient

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(60)


@pytest.fixture
def start_signer(tmp_path: Path) -> Iterator[Callable[..., Process]]:
    running: list[Process] = []

    def start(
        *options: str,
        data: Path | None = None,
        socket: Path | None = None,
        url: str = FARM,
        program: Path | None = None,
    ) -> Process:
        data = data or tmp_path / "vault"
        socket = socket or tmp_path / "signer.sock"
        packages = [sysconfig.get_path("purelib"), str(Path(__file__).parents[2])]
        if program is not None:  # the same by way of a folder
            for number, place in enumerate(packages):
                (program / str(number)).symlink_to(place)
            packages = [str(program / str(number)) for number in range(len(packages))]
        process = subprocess.Popen(
            [
                *(sys.executable, "-S", "-m", "buildfarm.trust.signer"),
                *(f"--data={data}", f"--socket={socket}", f"--url={url}", *options),
            ],
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(packages)},
            cwd=data.parent,
        )
        started = Process(process, data, socket, SignerClient(socket))
        running.append(started)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and process.poll() is None:
            with contextlib.suppress(ExternalFailure):
                started.client.health()
                break
            time.sleep(0.02)
        return started

    yield start
    for each in running:
        if each.process.poll() is None:
            each.process.kill()
        each.process.wait(20)
        if each.process.stderr:
            each.process.stderr.close()


@dataclass
class Open:
    """A farm that published with a real signer, served by gunicorn, and a home of its own for the client."""

    house: Any
    signer: Process
    url: str
    admin: str
    folder: Path

    def run(self, *arguments: object, **env: str) -> subprocess.CompletedProcess[str]:
        """`buildfarm ARGUMENTS` as an administrator's machine runs it."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("BUILDFARM_")}
        home = {"XDG_CONFIG_HOME": str(self.folder / "config"), "XDG_STATE_HOME": str(self.folder / "state")}
        farm = {"BUILDFARM_URL": self.url, "BUILDFARM_TOKEN": self.admin, "NO_PROXY": "127.0.0.1"}
        return subprocess.run(
            [sys.executable, "-c", "from buildfarm.cli.main import main; main()", *map(str, arguments)],
            env={**kept, **home, **farm, "PYTHONPATH": str(Path(__file__).parents[2]), **env},
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def download(self, filename: str) -> Path:
        path = self.folder / "dist" / filename
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(self.house.files[filename])
        return path


@pytest.fixture
def signed(open_house, start_signer, tmp_path: Path) -> Any:
    """A farm beside whose data a signer runs; `publish(*files)` is all that a publishing worker does."""
    house = open_house(signer_socket=str(tmp_path / "signer.sock"))
    settings = house.farm.settings
    signer = start_signer(data=settings.data / "signer", url=settings.public_url)
    source = house.source()

    def publish(*files: tuple[str, bytes], ref: str = "refs/tags/v1.0") -> str:
        build = house.built(source, *files, ref=ref)
        farm = house.farm
        publisher = Publisher(farm.database, farm.blobs, farm.signer, farm.upstream, settings)
        publisher.publish(build, house.publish_task(build), lambda: None)
        house.files.update(files)
        return build

    return SimpleNamespace(house=house, signer=signer, publish=publish)


@pytest.fixture
def live(signed, serve, tmp_path: Path) -> Open:
    """`signed` with two files of widget 1.0, served."""
    house = signed.house
    signed.publish(house.wheel(), house.wheel(tag="py2.py3-none-any"))
    admin = house.token("admin")
    folder = tmp_path / "client"
    folder.mkdir()
    return Open(house, signed.signer, serve(house), admin, folder)
