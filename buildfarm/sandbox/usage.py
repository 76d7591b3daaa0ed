"""What a container used, read from its cgroup while it lives.

Both hierarchies are understood: version 1 (one directory per controller) and version 2 (one
directory). Nothing is read when the engine runs on another machine: the process is then not ours.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TypeVar

_ROOT = Path("/sys/fs/cgroup")


class Usage:
    """Running maxima of a container's counters; `sample()` may be called from any thread."""

    def __init__(self, container_id: str, pid: int) -> None:
        self._paths = _cgroup_paths(container_id, pid)
        self._lock = threading.Lock()
        self.cpu_seconds: float | None = None
        self.oom_kills: int | None = None
        self.pids_refused: int | None = None
        self.memory_bytes: int | None = None

    def sample(self) -> float | None:
        """Read the counters, keep the largest values seen, return the CPU seconds so far."""
        cpu = self._number("cpuacct", "cpuacct.usage")
        seconds = cpu / 1e9 if cpu is not None else None
        if seconds is None and (usec := self._field("cpu", "cpu.stat", "usage_usec")) is not None:
            seconds = usec / 1e6
        oom = self._field("memory", "memory.events", "oom_kill")
        if oom is None:
            oom = self._field("memory", "memory.oom_control", "oom_kill")
        refused = self._field("pids", "pids.events", "max")
        peak = self._number("memory", "memory.peak")
        if peak is None:
            peak = self._number("memory", "memory.max_usage_in_bytes")
        with self._lock:
            self.cpu_seconds = _larger(self.cpu_seconds, seconds)
            self.oom_kills = _larger(self.oom_kills, oom)
            self.pids_refused = _larger(self.pids_refused, refused)
            self.memory_bytes = _larger(self.memory_bytes, peak)
            return self.cpu_seconds

    def _read(self, controller: str, name: str) -> str | None:
        directory = self._paths.get(controller) or self._paths.get("")
        if directory is None:
            return None
        try:
            return (directory / name).read_text()
        except OSError:  # the container has just ended, or the other cgroup version is mounted
            return None

    def _number(self, controller: str, name: str) -> int | None:
        text = self._read(controller, name)
        return int(text) if text and text.strip().isdigit() else None

    def _field(self, controller: str, name: str, key: str) -> int | None:
        for line in (self._read(controller, name) or "").splitlines():
            word, _, value = line.partition(" ")
            if word == key and value.isdigit():
                return int(value)
        return None


_Number = TypeVar("_Number", int, float)


def _larger(old: _Number | None, new: _Number | None) -> _Number | None:
    return new if old is None else old if new is None else max(old, new)


def _cgroup_paths(container_id: str, pid: int) -> dict[str, Path]:
    """Controller name -> directory; the unified hierarchy has the name ''."""
    try:
        text = Path(f"/proc/{pid}/cgroup").read_text() if pid > 0 else ""
    except OSError:
        text = ""
    paths = {}
    for line in text.splitlines():
        _, controllers, path = line.split(":", 2)
        if container_id not in path:  # another machine's pid, or a cgroup name space of its own
            continue
        if not controllers:
            paths[""] = _ROOT / path.lstrip("/")
        for controller in controllers.split(",") if controllers else ():
            paths[controller] = _ROOT / controller / path.lstrip("/")
    return paths
