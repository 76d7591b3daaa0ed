"""The signer's own record: JSON lines, only ever appended, on disk before anything is answered.

Each line names the digest of the line before it, so a line cannot be changed, taken out or swapped
without the record refusing to open. The last line may lack its newline: that is a write that never
finished and so was never answered, and it is cut off.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from buildfarm import log
from buildfarm.errors import ExternalFailure, IntegrityFailure

_log = log.get(__name__)
_FIRST = hashlib.sha256(b"").hexdigest()


class Record:
    """An open record. One process at a time may have it open, which its owner sees to."""

    def __init__(self, path: Path) -> None:
        self._file = open(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+b", buffering=0)  # noqa: SIM115
        self._head, self._end, self._usable = _FIRST, 0, True

    def replay(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Every line as `(offset, value)`, checked; must be read to its end before anything else.

        Raises:
            IntegrityFailure: the record was changed.
        """
        with open(os.dup(self._file.fileno()), "rb") as lines:
            lines.seek(0)
            for line in lines:
                if not line.endswith(b"\n"):
                    _log.warning("signer.record_torn", offset=self._end, bytes=len(line))
                    os.ftruncate(self._file.fileno(), self._end)
                    os.fsync(self._file.fileno())
                    break
                yield self._end, self._read(line, self._head)
                self._head = hashlib.sha256(line).hexdigest()
                self._end += len(line)

    def append(self, value: dict[str, Any]) -> int:
        """Write one line and wait until the disk has it.

        Returns:
            The line's offset, for `at`.

        Raises:
            ExternalFailure: the disk did not take it; nothing was recorded.
        """
        if not self._usable:
            raise ExternalFailure(
                "The signer's record could not be written earlier.",
                code="signer.record",
                hint="Look at the signer's disk, then restart the signer.",
            )
        line = json.dumps({"prev": self._head, **value}, sort_keys=True).encode() + b"\n"
        offset = self._end
        try:
            if os.pwrite(self._file.fileno(), line, offset) != len(line):
                msg = "short write"
                raise OSError(msg)
            os.fsync(self._file.fileno())
        except OSError as error:
            # After a failed fsync nobody knows what the disk holds: stop until a restart has read it.
            self._usable = False
            os.ftruncate(self._file.fileno(), offset)
            raise ExternalFailure(
                f"The signer's record cannot be written: {error}",
                code="signer.record",
                hint="Look at the signer's disk, then restart the signer.",
            ) from error
        self._head = hashlib.sha256(line).hexdigest()
        self._end += len(line)
        return offset

    def at(self, offset: int) -> dict[str, Any]:
        """The line that begins at `offset`."""
        with open(os.dup(self._file.fileno()), "rb") as lines:
            lines.seek(offset)
            return self._read(lines.readline(), None)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _read(self, line: bytes, previous: str | None) -> dict[str, Any]:
        try:
            value = json.loads(line)
            chained = previous is None or value["prev"] == previous
        except (ValueError, KeyError, TypeError):
            chained = False
        if not chained:
            raise IntegrityFailure(
                f"The signer's record was changed at byte {self._end}.",
                code="signer.record_changed",
                hint="Find out who wrote there; then restore the record and the journal from one backup.",
            )
        return dict(value)
