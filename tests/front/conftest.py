"""A front over a farm, with real processes; raw sockets to speak to it."""

from __future__ import annotations

import contextlib
import secrets
import select
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.conftest import ROOT, House, environment, open_farm
from tests.front import stage
from tests.front.wire import Wire
from tests.index.conftest import put_one
from tests.ports import free_port
from tests.waiting import wait_for


@dataclass
class Site:
    """Web on its unix socket and a front before it."""

    house: House
    folder: Path
    port: int
    web_socket: str
    env: dict[str, str]
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    wires: list[Wire] = field(default_factory=list)
    facts: dict[str, str] = field(default_factory=dict)

    def start(self, name: str, *arguments: str, under: tuple[str, ...] = ()) -> None:
        with (self.folder / f"{name}.log").open("ab") as out:
            self.processes[name] = subprocess.Popen(
                [*under, sys.executable, "-m", *arguments], env=self.env, cwd=ROOT, stdout=out, stderr=out
            )

    def start_web(self, *under: str) -> None:
        gunicorn = ("gunicorn", "-c", "python:webapp.serving", "--workers", "1", "--threads", "16")
        self.start("web", *gunicorn, "--bind", f"unix:{self.web_socket}", "webapp.wsgi:app", under=under)
        self.wait_for_start("web", lambda: answers(self.web_socket))

    def start_front(self, *more: str) -> None:
        settings = self.house.farm.settings
        self.start(
            "front", "webapp.front", "--pages", str(settings.pages_dir), "--web", self.web_socket,
            "--port", str(self.port), *more,
        )  # fmt: skip
        self.wait_for_start("front", lambda: listens(self.port))

    def wait_for_start(self, name: str, is_there: Callable[[], bool]) -> None:
        process = self.processes[name]
        wait_for(lambda: is_there() or process.poll() is not None, f"{name} to start")
        assert process.poll() is None, self.log(name)

    def stop(self, name: str, number: int = signal.SIGTERM) -> int:
        process = self.processes.pop(name)
        process.send_signal(number)
        return process.wait(30)

    def end(self) -> None:
        self.close_wires()
        for process in self.processes.values():
            process.kill()
        for process in self.processes.values():
            process.wait(20)

    def close_wires(self) -> None:
        for wire in self.wires:
            wire.close()
        self.wires.clear()

    def log(self, name: str = "front") -> str:
        return (self.folder / f"{name}.log").read_text()

    def wire(self) -> Wire:
        """A connection to the front."""
        self.wires.append(Wire(("127.0.0.1", self.port)))
        return self.wires[-1]

    def web_wire(self) -> Wire:
        """A connection to web itself, past the front."""
        self.wires.append(Wire(self.web_socket))
        return self.wires[-1]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def answers(path: str) -> bool:
    with contextlib.suppress(OSError, AssertionError):
        wire = Wire(path)
        with contextlib.closing(wire):
            return wire.send(b"GET /healthz HTTP/1.1\r\nHost: web\r\n\r\n").answer().status == 200
    return False


def listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=2):
        return True
    return False


def get(path: str, *lines: str, method: str = "GET", version: str = "1.1", host: str = "farm") -> bytes:
    """A request's head; `lines` are header lines with their end."""
    text = f"{method} {path} HTTP/{version}\r\nHost: {host}\r\n{''.join(lines)}\r\n"
    return text.encode("latin-1")


@pytest.fixture
def site_of(tmp_path: Path) -> Iterator[Callable[..., Site]]:
    """Starts web and a front over a farm; further arguments are the front's."""
    made: list[Site] = []

    def start(house: House, *more: str) -> Site:
        folder = tmp_path / f"site{len(made)}"
        folder.mkdir()
        made.append(_site(house, folder))
        made[-1].start_web()
        made[-1].start_front(*more)
        return made[-1]

    yield start
    for site in made:
        site.end()


@pytest.fixture(scope="session")
def kept_site(tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("shared")
    shutil.copy(sqlite_template, folder / "farm.db")
    house = open_farm(f"sqlite:///{folder / 'farm.db'}", folder)
    credentials = stage.furnish(house, put_one)
    site = _site(house, folder)
    site.start_web()
    site.start_front("--head-s", "1", "--idle-s", "4", "--per-address", "50")
    site.facts = credentials | stage.etags(site.web_wire, credentials)
    yield site
    site.end()
    house.database.close()


@pytest.fixture
def shared(kept_site: Site) -> Iterator[Site]:
    """The farm of the corpus, web and a front, for all tests that change nothing."""
    yield kept_site
    kept_site.close_wires()


@pytest.fixture
def site(house: House, site_of: Callable[..., Site]) -> Site:
    """A farm of the test's own, furnished for the corpus, web and a front; no follower but the test."""
    credentials = stage.furnish(house, put_one)
    site = site_of(house)
    site.facts = credentials
    return site


class FakeWeb:
    """A unix socket in web's place; a test reads and writes what comes there, byte for byte."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(self.path)
        self._listener.listen(64)
        self._listener.settimeout(60)
        self.taken: list[socket.socket] = []

    def take(self) -> tuple[socket.socket, bytes]:
        """The next connection, and the name of its other end."""
        connection, name = self._listener.accept()
        connection.settimeout(60)
        self.taken.append(connection)
        return connection, name or b""

    def verdict(self, line: str = "204 No Content\r\nX-Verdict: allow") -> bytes:
        """Answer the next question; its head."""
        connection, _ = self.take()
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += connection.recv(1000)
        connection.sendall(f"HTTP/1.1 {line}\r\n\r\n".encode())
        connection.close()
        return head

    @property
    def is_idle(self) -> bool:
        """Whether nobody waits to be taken."""
        poll = select.poll()
        poll.register(self._listener, select.POLLIN)
        return not poll.poll(0)

    def let_go(self) -> None:
        """End what was taken."""
        for connection in self.taken:
            connection.close()
        self.taken.clear()

    def close(self) -> None:
        self.let_go()
        self._listener.close()


@pytest.fixture(scope="session")
def kept_front(tmp_path_factory: pytest.TempPathFactory, kept_site: Site) -> Iterator[tuple[Site, FakeWeb]]:
    folder = tmp_path_factory.mktemp("fake")
    yield from _faked(folder, kept_site)


@pytest.fixture
def faked(kept_front: tuple[Site, FakeWeb]) -> Iterator[tuple[Site, FakeWeb]]:
    """A front over the pages of the shared farm, a fake in web's place, a reader that nobody knows yet."""
    site, web = kept_front
    site.facts["READER"] = stage.basic(secrets.token_hex())
    yield site, web
    site.close_wires()
    while not web.is_idle:
        web.take()
    web.let_go()


@pytest.fixture
def own_faked(tmp_path: Path, kept_site: Site) -> Iterator[tuple[Site, FakeWeb]]:
    """The same, for a test that ends one of them."""
    yield from _faked(tmp_path, kept_site)


def _faked(folder: Path, kept: Site) -> Iterator[tuple[Site, FakeWeb]]:
    web = FakeWeb(folder / "web.sock")
    site = Site(kept.house, folder, free_port(), web.path, kept.env, facts=dict(kept.facts))
    site.start_front()
    yield site, web
    site.end()
    web.close()


def _site(house: House, folder: Path) -> Site:
    env = environment(house.farm.settings, folder)
    return Site(house, folder, free_port(), str(folder / "web.sock"), env)
