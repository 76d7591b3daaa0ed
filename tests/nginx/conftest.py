"""nginx before a farm: real web on its unix socket, real nginx as the farm configures it."""

from __future__ import annotations

import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner

from buildfarm.cli.main import cli
from buildfarm.index import namespaces
from tests.conftest import House, environment, open_farm
from tests.front import stage
from tests.front.conftest import Site, listens
from tests.front.wire import Answer
from tests.index.conftest import put_one
from tests.nginx.stub import StubWeb
from tests.ports import free_port
from tests.waiting import wait_for

LOCAL = "my_widget-1.0+cu121-py3-none-any.whl"


@dataclass
class Appliance(Site):
    """A site whose front is nginx."""

    @property
    def out(self) -> Path:
        return self.folder / "nginx"

    def start_nginx(self, *more: str) -> None:
        argv = ["front", "nginx", "--out", str(self.out), "--listen", f"127.0.0.1:{self.port}", *more]
        written = CliRunner(env={"BUILDFARM_CONFIG": self.env["BUILDFARM_CONFIG"]}).invoke(cli, argv)
        assert written.exit_code == 0, written.output + repr(written.exception)
        command = ["nginx", "-e", self.out / "error.log", "-c", self.out / "nginx.conf", "-g", "daemon off;"]
        with (self.folder / "nginx.log").open("ab") as log:
            self.processes["nginx"] = subprocess.Popen(command, stdout=log, stderr=log)
        self.wait_for_start("nginx", lambda: listens(self.port))

    def end(self) -> None:
        self.stop("nginx")  # killed, it would leave its workers
        super().end()

    def ask(self, request: bytes, *, head: bool = False) -> Answer:
        """The answer of nginx on a connection of its own."""
        return self.wire().send(request).answer(head=head)

    def ask_web(self, request: bytes, *, head: bool = False) -> Answer:
        """The answer of web itself, which a front tells whom it asks for."""
        told = request.replace(b"Host: farm\r\n", b"Host: farm\r\nX-Forwarded-For: 127.0.0.1\r\n", 1)
        return self.web_wire().send(told).answer(head=head)

    def reload(self) -> None:
        """Have nginx read its configuration again; the old workers are gone afterwards."""
        before = self.workers()
        self.processes["nginx"].send_signal(signal.SIGHUP)
        wait_for(lambda: self.workers() and not before & self.workers())

    def workers(self) -> set[int]:
        parent = self.processes["nginx"].pid
        return {int(pid) for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()}


def furnish(house: House) -> dict[str, str]:
    """What the corpus asks for and a wheel of a local version; the credentials."""
    credentials = stage.furnish(house, put_one)
    put_one(house, LOCAL, b"other bytes", metadata=b"Metadata-Version: 2.1\n")
    return credentials


def start(house: House, folder: Path, *more: str, with_web: bool = True) -> Appliance:
    """nginx, and web unless told otherwise, over a farm."""
    if shutil.which("nginx") is None:
        pytest.skip("nginx is not installed (packages nginx and libnginx-mod-http-lua)")
    folder.mkdir()
    web_socket = house.farm.settings.data / "run" / "web.sock"
    web_socket.parent.mkdir(parents=True, exist_ok=True)
    credentials = furnish(house)
    env = environment(house.farm.settings, folder)
    appliance = Appliance(house, folder, free_port(), str(web_socket), env, facts=credentials)
    if with_web:
        appliance.start_web()
    appliance.start_nginx(*more)
    return appliance


@pytest.fixture
def appliance(house: House, tmp_path: Path) -> Iterator[Appliance]:
    """nginx before a farm, for tests that break it."""
    appliance = start(house, tmp_path / "site")
    yield appliance
    appliance.end()


@pytest.fixture
def stub(house: House) -> Iterator[StubWeb]:
    """A web that says whatever a test wants."""
    stub = StubWeb(house.farm.settings.data / "run" / "web.sock")
    yield stub
    stub.end()


@pytest.fixture
def before_stub(house: House, stub: StubWeb, tmp_path: Path) -> Iterator[Appliance]:
    """nginx before that web, over the pages of a real farm."""
    appliance = start(house, tmp_path / "site", with_web=False)
    yield appliance
    appliance.end()


@pytest.fixture
def shared(kept_appliance: Appliance) -> Iterator[Appliance]:
    """nginx before a farm, for tests that only ask."""
    yield kept_appliance
    kept_appliance.close_wires()


@pytest.fixture(scope="session")
def kept_appliance(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Appliance]:
    folder = tmp_path_factory.mktemp("shared")
    shutil.copy(sqlite_template, folder / "farm.db")
    # The other tests of reads know 1.4 alone.
    house = open_farm(f"sqlite:///{folder / 'farm.db'}", folder, index={"namespaces": True})
    with house.database.begin() as session:
        namespaces.add(session, "my", [], actor="test")
    appliance = start(house, folder / "site")
    appliance.facts |= stage.etags(appliance.web_wire, appliance.facts)
    yield appliance
    appliance.end()
    house.database.close()
