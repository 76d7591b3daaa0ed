"""A forked child and all its descendants end with its time, its answer, its server, and whoever asked."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from buildfarm.forkserver import ForkServer

PROGRAM = """
import os, pathlib, signal, subprocess, time
from buildfarm import forked

def answer(asked, files):
    {body}

forked.serve(answer)
"""
LEAVES = """
    left = subprocess.Popen(["sleep", "600"])
    with open(asked + ".new", "w") as told:
        told.write(f"{os.getpid()} {left.pid}")
    os.rename(asked + ".new", asked)
"""
WAITS = """
    told = pathlib.Path(asked)
    told.touch()
    while told.exists():
        time.sleep(0.01)
"""
HANGS = LEAVES + "    time.sleep(600)"


@pytest.fixture
def that(tmp_path: Path) -> Iterator[Callable[..., ForkServer]]:
    servers = []

    def made(body: str, **more: object) -> ForkServer:
        (tmp_path / "probe.py").write_text(PROGRAM.format(body=body))
        servers.append(ForkServer("probe", tmp_path, **{"wall_seconds": 200.0, **more}))
        return servers[-1]

    yield made
    for server in servers:
        server.close()


def _eventually(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 60
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    return condition()


def _is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def _are_gone(told: Path) -> bool:
    pids = [int(pid) for pid in told.read_text().split()]
    return _eventually(lambda: not any(map(_is_running, pids)))


def test_a_child_out_of_time_is_killed_with_its_descendants(that, tmp_path: Path):
    told = tmp_path / "told"
    server = that(HANGS)
    server.share()
    started = time.monotonic()
    assert server.ask(str(told).encode(), wall_seconds=8.0) == b""
    assert time.monotonic() - started < 60
    assert _are_gone(told)


def test_what_a_child_leaves_behind_ends_with_it(that, tmp_path: Path):
    told = tmp_path / "told"
    assert that(LEAVES + '    return "done"').ask(str(told).encode()) == b"done"
    assert _are_gone(told)


def test_a_child_ends_when_whoever_asked_was_killed(that, tmp_path: Path):
    told = tmp_path / "told"
    server = that(HANGS)
    server.share()
    asker = os.fork()
    if asker == 0:
        server.ask(str(told).encode())
        os._exit(0)
    assert _eventually(told.exists)
    os.kill(asker, signal.SIGKILL)
    os.waitpid(asker, 0)
    assert _are_gone(told)


def test_a_child_ends_with_the_process_that_forked_it(that, tmp_path: Path):
    told = tmp_path / "told"
    server = that(HANGS)
    server.share()
    asker = os.fork()
    if asker == 0:
        server.ask(str(told).encode())
        os._exit(0)
    assert _eventually(told.exists)
    server._process.kill()
    child = int(told.read_text().split()[0])
    assert _eventually(lambda: not _is_running(child))
    os.kill(int(told.read_text().split()[1]), signal.SIGKILL)  # nobody is left to end its group
    os.kill(asker, signal.SIGKILL)
    os.waitpid(asker, 0)


def test_a_stop_that_reaches_the_whole_group_of_whoever_asked_spoils_no_answer(that, tmp_path: Path):
    told = tmp_path / "told"
    returned = "    return repr([signal.getsignal(n).name for n in (signal.SIGTERM, signal.SIGINT)])"
    server = that(WAITS + returned)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(server.ask, str(told).encode())
        assert _eventually(told.exists)
        for number in (signal.SIGTERM, signal.SIGINT):
            server._process.send_signal(number)
        told.unlink()
        assert asked.result() == b"['SIG_DFL', 'SIG_DFL']"


def test_what_happens_late_to_its_line_ends_no_child(that, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The kernel may tell of the question's end after the child has read it."""
    told, lines = tmp_path / "told", []
    pair = socket.socketpair

    def noted(*kind: object) -> tuple[socket.socket, socket.socket]:
        lines.append(pair(*kind))
        return lines[-1]

    monkeypatch.setattr("buildfarm.forkserver.socket.socketpair", noted)
    server = that(WAITS + '    return "done"')
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(server.ask, str(told).encode())
        assert _eventually(told.exists)
        lines[0][0].shutdown(socket.SHUT_WR)
        told.unlink()
        assert asked.result() == b"done"


def test_an_answer_of_any_size_arrives_whole(that):
    assert that('return "x" * (8 << 20)').ask(b"") == b"x" * (8 << 20)


def test_a_child_sees_only_the_environment_it_is_given(that, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SECRET", "x")
    seen = that("return repr(dict(os.environ))", environment={"ONLY": "this"}).ask(b"").decode()
    assert "'ONLY': 'this'" in seen
    assert "SECRET" not in seen


def test_two_files_come_with_a_question(that, tmp_path: Path):
    for name in ("a", "b"):
        (tmp_path / name).write_text(name)
    with (tmp_path / "a").open() as first, (tmp_path / "b").open() as second:
        body = "return ''.join(os.read(file, 1).decode() for file in files)"
        assert that(body).ask(b"", first.fileno(), second.fileno()) == b"ab"
