"""Processes that are measured: started, waited for, their processor time and memory, ended."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Server:
    """Something that answers HTTP, and the processes whose time its answers cost."""

    name: str
    url: str
    command: str
    pids: Callable[[], set[int]]
    headers: Mapping[str, str] = field(default_factory=dict)
    password: str = ""

    def cpu_s(self) -> float:
        """Processor seconds of all its processes so far."""
        return cpu_s(self.pids())

    def pss_mib(self) -> float:
        """Memory of its processes, shared pages divided among those that share them."""
        return sum(_pss_kib(pid) for pid in self.pids()) / 1024


def cpu_s(pids: set[int]) -> float:
    """Seconds on a processor, by the scheduler's own clock: all threads, ended ones too, and of ended
    children what their parents waited for (to a hundredth of a second)."""
    total = 0.0
    for pid in pids:
        try:
            # clock_getcpuclockid(3): the clock of another process, in nanoseconds.
            total += time.clock_gettime((~pid << 3) | 2)
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += (int(fields[13]) + int(fields[14])) / _TICKS
        except OSError:
            continue  # it ended between being listed and being read; its parent has its time
    return total


def tree(pid: int) -> set[int]:
    """A process and everything below it."""
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        children.setdefault(parent, []).append(int(path.parent.name))
    found, left = set(), [pid]
    while left:
        found.add(one := left.pop())
        left += children.get(one, [])
    return found


def _pss_kib(pid: int) -> int:
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1])
    except OSError:
        pass
    return 0


@contextmanager
def running(
    command: Sequence[object],
    *,
    log: Path,
    answers: str,
    headers: Mapping[str, str] | None = None,
    env: Mapping[str, str] | None = None,
    deadline_s: float = 300.0,
) -> Iterator[subprocess.Popen[bytes]]:
    """A server from its start until it answers the URL `answers` with 200, and to its end."""
    with log.open("ab") as out:
        process = subprocess.Popen(
            [str(part) for part in command], stdout=out, stderr=out, env=env, start_new_session=True
        )
    try:
        deadline = time.monotonic() + deadline_s
        while get_status(answers, headers) != 200:
            if process.poll() is not None or time.monotonic() > deadline:
                said = log.read_text(errors="replace")[-3000:]
                raise SystemExit(f"bench: {command[0]} does not answer {answers}; it said:\n{said}")
            time.sleep(0.02)
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def get_status(url: str, headers: Mapping[str, str] | None = None) -> int:
    """The status that a URL answers with; 0 when nobody answers."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=30)
    try:
        connection.request("GET", parts.path or "/", headers=dict(headers or {}))
        return connection.getresponse().status
    except OSError:
        return 0
    finally:
        connection.close()


def wait_for(condition: Callable[[], bool], *, what: str, deadline_s: float = 300.0) -> None:
    """Wait until the condition holds; ends the benchmark when it does not in time."""
    deadline = time.monotonic() + deadline_s
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"bench: after {deadline_s:.0f} s: {what}")
        time.sleep(0.02)


def free_port() -> int:
    """A loopback port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
