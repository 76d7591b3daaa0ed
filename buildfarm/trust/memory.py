"""Remembers the last checkpoint of each log, so that a log that forgets or forks is noticed.

A single signature proves nothing about what others were shown. Whoever remembers what the log once
signed can demand that it goes on from there (C2SP tlog-checkpoint, RFC 9162 section 2.1.4).
"""

from __future__ import annotations

import contextlib
import fcntl
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from buildfarm.errors import EnvironmentProblem, IntegrityFailure
from buildfarm.journal import merkle
from buildfarm.trust.note import Checkpoint

#: Gives the consistency proof between two sizes of the log, the smaller one first.
Consistency = Callable[[int, int], Sequence[bytes]]

_HINT = "Keep both checkpoints and tell the farm's administrator: the log was rolled back or forked."


class CheckpointMemory:
    """A state file with one checkpoint per log."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def see(self, log_id: bytes, checkpoint: Checkpoint, consistency: Consistency | None = None) -> str:
        """Hold a checkpoint whose signature was verified against what is remembered.

        An older checkpoint is no sin here: every bundle carries the one of its day. With
        `consistency` both must be states of one log that grew; without it nothing can be said of two
        sizes, and what is remembered stays as it is.

        Returns:
            A sentence about what was found.

        Raises:
            IntegrityFailure: the two checkpoints cannot be of one log that only grew.
            EnvironmentProblem: the state file cannot be read or written.
        """
        with self._locked() as known:
            last = known.get(log_id.hex())
            if last is None:
                self._write(known | {log_id.hex(): checkpoint})
                return f"first checkpoint seen of this log, {checkpoint.size} entries"
            old, new = sorted((last, checkpoint), key=lambda each: each.size)
            if old.size == new.size:
                self._demand_consistent(old, new, ())
                return f"the same {new.size} entries as last time"
            if consistency is None:
                return f"nothing proves it against the {last.size} entries last seen"
            self._demand_consistent(old, new, consistency(old.size, new.size))
            if new is last:
                return f"older than the {last.size} entries last seen"
            self._write(known | {log_id.hex(): checkpoint})
            return f"grown from {last.size} to {checkpoint.size} entries"

    def head(self, log_id: bytes, checkpoint: Checkpoint, consistency: Consistency | None = None) -> str:
        """Hold the log's present checkpoint against what is remembered: it must not have shrunk.

        Raises:
            IntegrityFailure: the log shrank, or see `see`.
            EnvironmentProblem: the state file cannot be read or written.
        """
        with self._locked() as known:
            last = known.get(log_id.hex())
        if last is not None and checkpoint.size < last.size:
            raise IntegrityFailure(
                f"The log had {last.size} entries and now says it has {checkpoint.size}.",
                code="memory.rollback",
                hint=_HINT,
                expected=f"at least {last.size}",
                got=str(checkpoint.size),
            )
        return self.see(log_id, checkpoint, consistency)

    def _demand_consistent(self, old: Checkpoint, new: Checkpoint, proof: Sequence[bytes]) -> None:
        try:
            merkle.verify_consistency(old.size, new.size, old.root, new.root, proof)
        except IntegrityFailure as error:
            raise IntegrityFailure(
                f"The log's states of {old.size} and of {new.size} entries do not belong to one history.",
                code="memory.fork",
                hint=_HINT,
                expected=old.root.hex(),
                got=new.root.hex(),
            ) from error

    @contextlib.contextmanager
    def _locked(self) -> Iterator[dict[str, Checkpoint]]:
        with contextlib.ExitStack() as stack:
            with self._usable():
                self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                lock = stack.enter_context(self._path.with_name(f"{self._path.name}.lock").open("wb"))
                fcntl.flock(lock, fcntl.LOCK_EX)
                known = self._read()
            yield known

    @contextlib.contextmanager
    def _usable(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise EnvironmentProblem(
                f"The remembered checkpoints in {self._path} cannot be used: {error}",
                code="memory.unusable",
                hint="If you know that the file is broken, delete it; the next check then starts anew.",
            ) from error

    def _read(self) -> dict[str, Checkpoint]:
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            return {}
        return {
            log: Checkpoint(str(value["origin"]), int(value["size"]), bytes.fromhex(value["root"]))
            for log, value in json.loads(data).items()
        }

    def _write(self, known: dict[str, Checkpoint]) -> None:
        value = {
            log: {"origin": each.origin, "size": each.size, "root": each.root.hex()}
            for log, each in known.items()
        }
        fresh = self._path.with_name(f"{self._path.name}.new")
        with self._usable():
            fresh.write_text(json.dumps(value, indent=1))
            fresh.replace(self._path)
