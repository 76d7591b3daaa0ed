"""A front over a farm, with real processes; raw sockets to speak to it."""

from __future__ import annotations

import base64
import contextlib
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.conftest import ROOT, House, environment, wait_for
from tests.index.conftest import put

__all__ = ["put"]


@dataclass
class Answer:
    """What came back: status, headers (lower-case names, values of equal names joined), body, the rest."""

    status: int
    reason: str
    headers: dict[str, str]
    body: bytes


class Wire:
    """A raw connection."""

    def __init__(self, address: tuple[str, int] | str) -> None:
        kind = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
        self.socket = socket.socket(kind, socket.SOCK_STREAM)
        self.socket.settimeout(20)
        self.socket.connect(address)
        self._data = b""

    def send(self, data: bytes) -> Wire:
        self.socket.sendall(data)
        return self

    def answer(self, *, head: bool = False) -> Answer:
        """The next answer; interim ones (1xx) are answers too."""
        while b"\r\n\r\n" not in self._data:
            assert self._more(), f"the connection ended, with {self._data!r}"
        top, _, self._data = self._data.partition(b"\r\n\r\n")
        line, *fields = top.decode("latin-1").split("\r\n")
        headers: dict[str, str] = {}
        for one in fields:
            name, _, value = one.partition(":")
            name = name.lower()
            headers[name] = f"{headers[name]}, {value.strip()}" if name in headers else value.strip()
        _, status, reason = (line + "  ").split(" ", 2)
        body = b""
        if not head and int(status) >= 200 and int(status) not in {204, 304}:
            body = self._body(headers)
        return Answer(int(status), reason.strip(), headers, body)

    def _body(self, headers: dict[str, str]) -> bytes:
        if headers.get("transfer-encoding") == "chunked":
            body = b""
            while True:
                size = int(self._upto(b"\r\n"), 16)
                chunk = self._exactly(size + 2)[:-2]
                body += chunk
                if not size:
                    return body
        if "content-length" in headers:
            return self._exactly(int(headers["content-length"]))
        return self.rest()

    def _upto(self, mark: bytes) -> bytes:
        while mark not in self._data:
            assert self._more()
        line, _, self._data = self._data.partition(mark)
        return line

    def _exactly(self, size: int) -> bytes:
        while len(self._data) < size:
            assert self._more(), f"{size - len(self._data)} bytes are missing"
        body, self._data = self._data[:size], self._data[size:]
        return body

    def rest(self) -> bytes:
        """Everything until the connection ends."""
        while self._more():
            pass
        rest, self._data = self._data, b""
        return rest

    def _more(self) -> bool:
        try:
            data = self.socket.recv(1 << 20)
        except ConnectionResetError:
            return False
        self._data += data
        return bool(data)

    @property
    def is_closed(self) -> bool:
        """Whether the other side ended the connection, with nothing unread."""
        self.socket.settimeout(0.05)
        try:
            return not self._data and not self._more()
        except TimeoutError:
            return False
        finally:
            self.socket.settimeout(20)

    def close(self) -> None:
        self.socket.close()


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

    def start(self, name: str, *arguments: str) -> None:
        with (self.folder / f"{name}.log").open("ab") as out:
            self.processes[name] = subprocess.Popen(
                [sys.executable, "-m", *arguments], env=self.env, cwd=ROOT, stdout=out, stderr=out
            )

    def start_web(self) -> None:
        gunicorn = ("gunicorn", "-c", "python:webapp.serving", "--workers", "1", "--threads", "16")
        self.start("web", *gunicorn, "--bind", f"unix:{self.web_socket}", "webapp.wsgi:app")
        wait_for(lambda: answers(self.web_socket), 60)

    def start_front(self, *more: str) -> None:
        settings = self.house.farm.settings
        self.start(
            "front", "webapp.front", "--pages", str(settings.pages_dir),
            "--web", self.web_socket, "--port", str(self.port), *more,
        )  # fmt: skip
        wait_for(lambda: listens(self.port), 30)

    def stop(self, name: str, number: int = signal.SIGTERM) -> int:
        process = self.processes.pop(name)
        process.send_signal(number)
        return process.wait(30)

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


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def basic(secret: str, name: str = "__token__") -> str:
    """The header line of these credentials."""
    return "Authorization: Basic " + base64.b64encode(f"{name}:{secret}".encode()).decode() + "\r\n"


def get(path: str, *lines: str, method: str = "GET", version: str = "1.1", host: str = "farm") -> bytes:
    """A request's head; `lines` are header lines with their end."""
    text = f"{method} {path} HTTP/{version}\r\nHost: {host}\r\n{''.join(lines)}\r\n"
    return text.encode("latin-1")


@pytest.fixture
def site_of(tmp_path: Path) -> Iterator[Callable[..., Site]]:
    """Starts web and a front over a farm; further arguments are the front's."""
    made: list[Site] = []

    def start(house: House, *more: str) -> Site:
        folder = tmp_path / "site"
        folder.mkdir(exist_ok=True)
        env = environment(house.farm.settings, folder)
        site = Site(house, folder, free_port(), str(folder / "web.sock"), env)
        made.append(site)
        site.start_web()
        site.start_front(*more)
        return site

    yield start
    for site in made:
        for wire in site.wires:
            wire.close()
        for process in site.processes.values():
            process.kill()
        for process in site.processes.values():
            process.wait(20)


@pytest.fixture
def site(house: House, put: Callable[..., str], site_of: Callable[..., Site]) -> Site:
    """A farm with a wheel and an sdist in `dev`, web, a front, and no follower but the test."""
    put(
        house, "my_widget-1.0-py3-none-any.whl", b"0123456789", metadata=b"Metadata-Version: 2.1\n",
        provenance=b'{"version":1}', requires_python=">=3.9",
    )  # fmt: skip
    put(house, "my_widget-1.0.tar.gz", b"sdist bytes")
    return site_of(house)


def eventually(condition: Callable[[], object], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.02)
