"""`buildfarm up` as root: the signer's keys and socket are its own user's, wherever the data lies."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from buildfarm.cli.up import SIGNER_UID
from buildfarm.errors import ExternalFailure, Forbidden
from buildfarm.trust.client import SignerClient
from tests.ports import free_port

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: the signer becomes another user"),
]
ROOT = Path(__file__).parents[2]
STRANGER = 64999


@pytest.fixture(scope="module")
def farm(tmp_path_factory):
    """A farm without builders, deep below a folder that is root's alone, on a machine with a dead proxy."""
    folder = tmp_path_factory.mktemp("up")
    data = folder / ("deep-" + "x" * 90) / ("deeper-" + "y" * 90) / "farm"
    ready = folder / "ready.json"
    port = free_port()
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BUILDFARM_")}
    proxies = dict.fromkeys(("http_proxy", "HTTP_PROXY", "all_proxy"), "http://127.0.0.1:9")
    with (folder / "up.log").open("wb") as log:
        process = subprocess.Popen(
            [
                *(sys.executable, "-c", "from buildfarm.cli.main import main; main()", "up"),
                *("--data", data, "--port", str(port), "--builders", "0", "--ready-file", ready),
            ],
            env={**kept, **proxies, "NO_PROXY": "", "no_proxy": "", "PYTHONPATH": str(ROOT)},
            stdout=log,
            stderr=log,
        )
    deadline = time.monotonic() + 90
    while not ready.exists():
        assert process.poll() is None, (folder / "up.log").read_text()
        assert time.monotonic() < deadline, (folder / "up.log").read_text()
        time.sleep(0.05)
    children = json.loads((data / "run" / "status.json").read_text())["children"]
    pids = {child["name"]: child["pid"] for child in children}
    yield SimpleNamespace(
        data=data, signer=data / "signer", pids=pids, url=json.loads(ready.read_text())["url"]
    )
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
    assert not (data / "signer" / "signer.sock").exists()


def as_stranger(action):
    """Run an action as an unprivileged user that may pass through all folders above the farm."""
    child = os.fork()
    if child == 0:
        code = 1
        with contextlib.suppress(BaseException):
            os.setgroups([])
            os.setresgid(STRANGER, STRANGER, STRANGER)
            os.setresuid(STRANGER, STRANGER, STRANGER)
            code = 0 if action() else 1
        os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.fixture
def open_road(farm):
    """Opens the folders that pytest keeps closed, so that the farm's own modes are what is tested."""
    closed = [folder for folder in farm.data.parents if folder.stat().st_mode & 0o005 != 0o005]
    modes = [folder.stat().st_mode for folder in closed]
    for folder in closed:
        folder.chmod(0o755)
    yield
    for folder, mode in zip(closed, modes, strict=True):
        folder.chmod(mode)


def test_the_signer_is_a_user_of_its_own_and_cannot_go_back(farm):
    status = Path(f"/proc/{farm.pids['signer']}/status").read_text()
    assert f"Uid:\t{SIGNER_UID}\t{SIGNER_UID}\t{SIGNER_UID}\t{SIGNER_UID}" in status
    assert re.search(r"CapEff:\t0+$", status, re.MULTILINE)
    assert "NoNewPrivs:\t1" in status


def test_keys_record_and_socket_are_its_alone_and_the_documents_everybodys(farm):
    modes = {path.relative_to(farm.signer): path.stat() for path in farm.signer.rglob("*")}
    assert modes
    for path, stat in modes.items():
        assert stat.st_uid == SIGNER_UID, path
        if path.parts[0] != "public":
            assert stat.st_mode & 0o077 == 0, path


def test_another_user_reads_no_key_and_reaches_no_socket_but_reads_the_root(farm, open_road):
    def is_closed():
        for path in (farm.signer / "keys" / "log.pem", farm.signer / "record.jsonl"):
            try:
                path.read_bytes()
            except PermissionError:
                continue
            return False
        try:
            SignerClient(farm.signer / "signer.sock").health()
        except (ExternalFailure, Forbidden):
            return True
        return False

    assert as_stranger(is_closed)
    assert as_stranger(lambda: b"tlogs" in (farm.signer / "public" / "trusted_root.json").read_bytes())


def test_root_as_which_the_publishing_worker_runs_may_ask(farm):
    assert SignerClient(farm.signer / "signer.sock").health()["uid"] == SIGNER_UID


def secrets(farm):
    """The private numbers as they lie in memory: an Ed25519 seed, scalars of EC keys in both orders."""
    for path in farm.signer.glob("keys/**/*.pem"):
        if path.name == "certificate.pem":
            continue
        key = load_pem_private_key(path.read_bytes(), None)
        if path.name == "log.pem":
            yield path, key.private_bytes_raw()
        else:
            number = key.private_numbers().private_value
            yield path, number.to_bytes(32, "big")
            yield path, number.to_bytes(32, "little")


def memory_holds(pid, needles):
    """Which of the needles stand in the writable memory of a process."""
    found = set()
    maps = Path(f"/proc/{pid}/maps").read_text().splitlines()
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for line in maps:
            span, mode, *_ = line.split()
            start, end = (int(part, 16) for part in span.split("-"))
            if "w" not in mode or end - start > 512 * 2**20:
                continue
            with contextlib.suppress(OSError, ValueError):
                memory.seek(start)
                data = memory.read(end - start)
                found |= {path for path, needle in needles if needle in data}
    return found


def family(pid):
    """A process and everything below it."""
    yield pid
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in children.read_text().split():
            yield from family(int(child))


def test_no_other_process_of_the_farm_holds_a_private_key(farm):
    needles = list(secrets(farm))
    # The signer itself is the proof that the search can find them.
    assert any(path.name == "log.pem" for path in memory_holds(farm.pids["signer"], needles))
    for name, pid in farm.pids.items():
        if name == "signer":
            continue
        for member in family(pid):
            assert not memory_holds(member, needles), name
            for descriptor in Path(f"/proc/{member}/fd").iterdir():
                with contextlib.suppress(FileNotFoundError):
                    assert "/signer/" not in os.readlink(descriptor), name
