"""What an attempt needs of the farm; a builder's HTTP client implements it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

#: How long a builder waits for a farm that is away before it gives a healthy attempt up, in seconds.
#: The farm does not count the silence meanwhile (docs/adr/0004-queue.md).
PATIENCE_S = 600.0


@dataclass(frozen=True)
class IndexAnswer:
    """An answer of the farm's index; `body` is closed by whoever iterates it."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Iterator[bytes] = field(default_factory=lambda: iter(()))


class Index(Protocol):
    """What a container's door leads to."""

    def index_get(self, path: str, headers: Mapping[str, str]) -> IndexAnswer:
        """GET what this attempt may read below `/simple/`, `/files/`, `/crates/` or `/go/`."""


class FarmPort(Index, Protocol):
    """The farm as one attempt sees it. Methods are called from several threads at once.

    Every method may raise `StaleAttempt` (stop and discard) or `ExternalFailure` (the farm is
    away). Logs and heartbeats are tried again by the caller; the other calls are not, so their
    implementation retries as long as that makes sense.
    """

    def fetch_source(self, into: Path) -> None:
        """Write the source snapshot, a tar, to the file `into`; the caller checks its digest."""

    def heartbeat(self, phase: str, container_id: str | None) -> bool:
        """Say that the attempt lives; False means stop now (cancelled or superseded)."""

    def append_log(self, offset: int, phase: str, text: str, times_ms: list[int]) -> int:
        """Append whole lines at `offset` (UTF-8 bytes) and return the new size; resending is harmless."""

    def put_artifact(self, path: Path, filename: str, sha256: str) -> None:
        """Hand over one finished file."""
