"""The phases of an attempt as they are timed: which one is open, what it has used."""

from __future__ import annotations

import threading
import time

from buildfarm.sandbox.containers import Container
from buildfarm.sandbox.spec import Phase, PhaseReport


class Timeline:
    """Collects one `PhaseReport` per phase; phases begin by `enter` and end by the next one's begin."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._reports: list[PhaseReport] = []
        self._phase: Phase | None = None
        self._began = time.monotonic()
        self._container: Container | None = None
        self._cpu = 0.0

    @property
    def container_id(self) -> str | None:
        """The container that works now, if any."""
        container = self._container
        return container.id if container else None

    @property
    def reports(self) -> list[PhaseReport]:
        """What has been collected so far."""
        with self._lock:
            return list(self._reports)

    def enter(self, phase: Phase) -> None:
        """A phase begins; the one before, if it is another and still open, went well."""
        with self._lock:
            if phase == self._phase:
                return
            self._close(0)
            self._phase = phase
            self._began = time.monotonic()

    def use(self, container: Container) -> None:
        """From now on this container works."""
        with self._lock:
            self._container = container
            self._cpu = 0.0

    def close(self, exit_code: int | None) -> None:
        """The phase that is open has ended, and so has its container."""
        with self._lock:
            self._close(exit_code)
            self._container = None

    def _close(self, exit_code: int | None) -> None:
        if self._phase is None:
            return
        container = self._container
        cpu = container.usage.sample() if container else None
        self._reports.append(
            PhaseReport(
                phase=self._phase,
                seconds=round(time.monotonic() - self._began, 3),
                cpu_seconds=round(cpu - self._cpu, 3) if cpu is not None else None,
                memory_bytes=container.usage.memory_bytes if container else None,
                exit_code=exit_code if container else None,
                image_id=container.image_id if container else "",
                container_id=container.id if container else "",
            )
        )
        self._cpu = cpu or 0.0
        self._phase = None
