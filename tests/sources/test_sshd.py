"""A private repository over ssh, from a real sshd on the loopback address."""

from __future__ import annotations

import getpass
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydantic import SecretStr

from buildfarm.errors import Forbidden, IntegrityFailure
from buildfarm.sources.contract import Credential, FetchRequest, Snapshot
from buildfarm.sources.fetcher import fetch_snapshot
from buildfarm.sources.gitrun import GitRunner
from buildfarm.sources.mirror import Mirror
from buildfarm.sources.rules import checked_url
from tests.ports import free_port

pytestmark = pytest.mark.system

_CONFIG = """
ListenAddress 127.0.0.1:{port}
HostKey {folder}/host
AuthorizedKeysFile {folder}/authorized
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
"""


@dataclass
class Sshd:
    """A running server, the key that it lets in, and what it is known by."""

    port: int
    folder: Path

    @property
    def key(self) -> str:
        return (self.folder / "right").read_text()

    @property
    def known_hosts(self) -> str:
        return f"[127.0.0.1]:{self.port} {(self.folder / 'host.pub').read_text()}"

    def url(self, path: Path) -> str:
        return f"ssh://{getpass.getuser()}@127.0.0.1:{self.port}{path}"


def _keygen(path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[Sshd]:
    program = shutil.which("sshd", path="/usr/sbin:/usr/bin")
    assert program, "the package openssh-server is missing: .ci/prepare test installs it"
    Path("/run/sshd").mkdir(exist_ok=True)  # where it locks the process up that speaks before the log-in
    folder = tmp_path / "sshd"
    folder.mkdir()
    for name in ("host", "right", "wrong"):
        _keygen(folder / name)
    shutil.copy(folder / "right.pub", folder / "authorized")
    port = free_port()
    (folder / "config").write_text(_CONFIG.format(port=port, folder=folder))
    with (folder / "log").open("w") as log:
        server = subprocess.Popen([program, "-D", "-e", "-f", folder / "config"], stderr=log)
    try:
        deadline = time.monotonic() + 60
        with socket.socket() as client:
            while client.connect_ex(("127.0.0.1", port)):
                assert time.monotonic() < deadline, (folder / "log").read_text()
                assert server.poll() is None, (folder / "log").read_text()
                time.sleep(0.02)
        yield Sshd(port, folder)
    finally:
        server.terminate()
        server.wait(60)


@pytest.fixture
def get(sshd: Sshd, upstream) -> Iterator[Callable[[Credential], Snapshot]]:
    folder = Path(tempfile.mkdtemp(prefix="sources-"))
    folder.chmod(0o711)
    numbers = iter(range(10))

    def fetch(credential: Credential) -> Snapshot:
        url = sshd.url(upstream.path)
        request = FetchRequest(
            url=url, ref="refs/heads/main", mirror_dir=folder / "mirror", credential=credential
        )
        return fetch_snapshot(request, folder / f"{next(numbers)}.tar")

    yield fetch
    shutil.rmtree(folder)


def test_the_right_key_opens_a_private_repository(sshd, upstream, get):
    credential = Credential(ssh_key=SecretStr(sshd.key), known_hosts=sshd.known_hosts)
    assert get(credential).commit == upstream.git("rev-parse", "main")
    commit = upstream.commit("More", a="2\n")
    assert get(credential).commit == commit


def test_ssh_goes_to_the_address_that_was_judged_under_the_name_whose_key_is_known(sshd, upstream, tmp_path):
    url = checked_url(f"ssh://{getpass.getuser()}@git.invalid:{sshd.port}{upstream.path}", allow_file=False)
    hosts, key = tmp_path / "hosts", tmp_path / "key"
    hosts.write_text(sshd.known_hosts.replace("127.0.0.1", "git.invalid"))
    shutil.copy(sshd.folder / "right", key)
    runner = GitRunner(
        url,
        scratch=tmp_path,
        deadline=time.monotonic() + 30,
        addresses=["127.0.0.1"],
        ssh_key=key,
        known_hosts=hosts,
    )
    head = Mirror(upstream.path / ".git", runner).list_refs(url.text, limit=9)["refs/heads/main"]
    assert head.commit == upstream.git("rev-parse", "main"), "though the name resolves nowhere"


def test_another_key_and_another_host_are_refused_in_words(sshd, get, capfd):
    wrong = SecretStr((sshd.folder / "wrong").read_text())
    with pytest.raises(Forbidden) as error:
        get(Credential(ssh_key=wrong, known_hosts=sshd.known_hosts))
    assert error.value.code == "source.authentication"
    other = f"[127.0.0.1]:{sshd.port} {(sshd.folder / 'wrong.pub').read_text()}"
    for known_hosts in (other, ""):
        with pytest.raises(IntegrityFailure) as refused:
            get(Credential(ssh_key=SecretStr(sshd.key), known_hosts=known_hosts))
        assert refused.value.code == "source.host_key"
    told = f"{error.value!r} {refused.value!r} {capfd.readouterr()}"
    assert sshd.key.splitlines()[1] not in told
