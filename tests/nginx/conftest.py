"""nginx before a farm: real web on its unix socket, real nginx as the farm configures it."""

from __future__ import annotations

import contextlib
import gzip
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner

from buildfarm.cli.main import cli
from tests.conftest import House, _house, environment, wait_for
from tests.front.conftest import Answer, Site, free_port, listens
from tests.index.conftest import put

__all__ = ["put"]

WHEEL = "my_widget-1.0-py3-none-any.whl"
LOCAL = "my_widget-1.0+cu121-py3-none-any.whl"
SDIST = "my_widget-1.0.tar.gz"


@dataclass
class Appliance(Site):
    """A site whose front is nginx."""

    @property
    def out(self) -> Path:
        return self.folder / "nginx"

    def start_nginx(self) -> None:
        argv = ["front", "nginx", "--out", str(self.out), "--listen", f"127.0.0.1:{self.port}"]
        written = CliRunner(env={"BUILDFARM_CONFIG": self.env["BUILDFARM_CONFIG"]}).invoke(cli, argv)
        assert written.exit_code == 0, written.output + repr(written.exception)
        with (self.folder / "nginx.log").open("ab") as log:
            self.processes["nginx"] = subprocess.Popen(
                [
                    "nginx",
                    "-e",
                    str(self.out / "error.log"),
                    "-c",
                    str(self.out / "nginx.conf"),
                    "-g",
                    "daemon off;",
                ],
                stdout=log,
                stderr=log,
            )
        wait_for(lambda: listens(self.port) or self.processes["nginx"].poll() is not None, 30)
        assert self.processes["nginx"].poll() is None, self.log("nginx")

    def ask(self, request: bytes, *, head: bool = False) -> Answer:
        """The answer on a connection of its own."""
        return self.wire().send(request).answer(head=head)

    def reload(self) -> None:
        """Have nginx read its configuration again; the old workers are gone afterwards."""
        before = self.workers()
        self.processes["nginx"].send_signal(signal.SIGHUP)
        wait_for(lambda: self.workers() and not before & self.workers())

    def workers(self) -> set[int]:
        parent = self.processes["nginx"].pid
        return {int(pid) for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()}


class Appliances:
    """Starts nginx, and web unless told otherwise, over farms, and ends them."""

    def __init__(self) -> None:
        self._made: list[Appliance] = []

    def start(self, house: House, folder: Path, *, with_web: bool = True) -> Appliance:
        folder.mkdir()
        socket = house.farm.settings.data / "run" / "web.sock"
        socket.parent.mkdir(parents=True, exist_ok=True)
        env = environment(house.farm.settings, folder)
        appliance = Appliance(house, folder, free_port(), str(socket), env)
        self._made.append(appliance)
        if with_web:
            appliance.start_web()
        appliance.start_nginx()
        return appliance

    def end(self) -> None:
        for appliance in self._made:
            for wire in appliance.wires:
                wire.close()
            for name, process in appliance.processes.items():
                process.send_signal(signal.SIGTERM if name == "nginx" else signal.SIGKILL)
            for process in appliance.processes.values():
                process.wait(20)


class StubWeb:
    """Web as nginx sees it, without a farm: says what a test wants on the socket; `asked` has all heads."""

    def __init__(self, path: Path) -> None:
        self.asked: list[bytes] = []
        self.says: Callable[[bytes], bytes] = lambda _head: verdict(204, "allow")
        path.parent.mkdir(parents=True, exist_ok=True)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(512)
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def verdicts_asked(self) -> int:
        return sum(head.startswith(b"GET /_verdict/") for head in self.asked)

    def end(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                if not (data := connection.recv(65536)):
                    return
                head += data
            self.asked.append(head)
            connection.sendall(self.says(head))


def verdict(status: int, name: str = "") -> bytes:
    """What web says to whoever asks for a verdict, or 404 to anything else."""
    length = "" if status == 204 else "Content-Length: 0\r\n"
    given = f"X-Verdict: {name}\r\n" if name else ""
    return f"HTTP/1.1 {status} x\r\n{given}{length}Connection: close\r\n\r\n".encode()


def fill(house: House, put: Callable[..., str]) -> House:
    """Two wheels and an sdist in `dev`, its rendered pages and documents."""
    metadata = b"Metadata-Version: 2.1\n"
    put(house, WHEEL, b"0123456789", metadata=metadata, provenance=b'{"version":1}', requires_python=">=3.9")
    put(house, LOCAL, b"other bytes", metadata=metadata)
    put(house, SDIST, b"sdist bytes")
    for place, document in (("pypi/my-widget/json", b'{"info": {}}'), ("rss/updates.xml", b"<rss/>"),
                            ("rss/project/my-widget.xml", b"<rss/>")):  # fmt: skip
        house.tree.put(f"dev/{place}.gz", gzip.compress(document), 8 * house.tree.serial)
    return house


def _needs_nginx() -> None:
    if shutil.which("nginx") is None:
        pytest.skip("nginx is not installed (packages nginx and libnginx-mod-http-lua)")


@pytest.fixture
def appliances() -> Iterator[Appliances]:
    _needs_nginx()
    appliances = Appliances()
    yield appliances
    appliances.end()


@pytest.fixture
def appliance(house: House, put: Callable[..., str], appliances: Appliances, tmp_path: Path) -> Appliance:
    """nginx before a farm with files, for tests that break it."""
    return appliances.start(fill(house, put), tmp_path / "site")


@pytest.fixture
def stub(house: House) -> Iterator[StubWeb]:
    """A web that says whatever a test wants."""
    stub = StubWeb(house.farm.settings.data / "run" / "web.sock")
    yield stub
    stub.end()


@pytest.fixture
def before_stub(
    house: House, put: Callable[..., str], stub: StubWeb, appliances: Appliances, tmp_path: Path
) -> Appliance:
    """nginx before that web, over the pages of a real farm."""
    return appliances.start(fill(house, put), tmp_path / "site", with_web=False)


@pytest.fixture(scope="module")
def shared(
    sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory, put: Callable[..., str]
) -> Iterator[Appliance]:
    """nginx before a farm with files, for tests that only ask."""
    _needs_nginx()
    folder = tmp_path_factory.mktemp("shared")
    shutil.copy(sqlite_template, folder / "farm.db")
    house = fill(_house(f"sqlite:///{folder / 'farm.db'}", folder), put)
    appliances = Appliances()
    yield appliances.start(house, folder / "site")
    appliances.end()
    house.database.close()
