"""The control zone's side of the signer's socket."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from buildfarm.errors import Conflict, ExternalFailure
from buildfarm.trust import wire
from buildfarm.trust.facts import BuildFacts, ReproductionFacts
from buildfarm.trust.messages import CheckpointRequest, EntryProof, SignedCheckpoint
from buildfarm.trust.mint import Attested

#: Seconds for one answer; reading a file of several gigabytes takes the signer a few seconds.
_TIMEOUT = 60.0
#: How often another publisher may get its checkpoint in before ours.
_ROUNDS = 5


class SignerClient:
    """Asks the signer; one connection per question, so it may be shared by threads and forks."""

    def __init__(self, socket_path: Path, *, timeout_s: float = _TIMEOUT) -> None:
        self._path, self._timeout = socket_path.absolute(), timeout_s

    def attest(self, facts: BuildFacts, file: int) -> Attested:
        """Have a file's statement made; the same facts and bytes get the same answer again.

        Args:
            facts: what the control zone's records say about the build, or about a second one.
            file: an open descriptor of the file; the signer reads it from its start.

        Raises:
            Conflict: the file has another statement already (`signer.second_statement`); of a second
                build, that the first one's statement is not there (`signer.not_built`).
            InvalidInput: the facts do not agree with each other or with the farm's URL.
            ExternalFailure: the signer is not there.
        """
        kind = "reproduction" if isinstance(facts, ReproductionFacts) else "facts"
        answer = self._ask({"verb": "attest", kind: facts.model_dump_json()}, file)
        return Attested.from_json(answer)

    def checkpoint(
        self,
        size: int,
        root: bytes,
        consistency: Callable[[int], Sequence[bytes]],
        entries: Sequence[EntryProof],
    ) -> SignedCheckpoint:
        """Have the log's state signed, with the timestamps of entries in it.

        Args:
            size: number of leaves that are on disk.
            root: their root hash.
            consistency: gives the proof from a smaller size (the signer's last checkpoint) to `size`.
            entries: attested entries with their inclusion proofs for `size`.

        Raises:
            Conflict: `checkpoint.behind`: a later state was signed already; take the present size.
            IntegrityFailure: the log does not continue the last checkpoint, or an entry is not in it.
            ExternalFailure: the signer is not there.
        """
        old_size = int(self.health()["checkpoint_size"])
        for _round in range(_ROUNDS):
            request = CheckpointRequest(
                size=size,
                root=root,
                old_size=min(old_size, size),
                consistency_proof=tuple(consistency(old_size)) if 0 < old_size < size else (),
                entries=tuple(entries),
            )
            try:
                answer = self._ask({"verb": "checkpoint", "request": request.model_dump_json()})
            except Conflict as conflict:
                if conflict.code != "checkpoint.moved":
                    raise
                old_size = int(str(conflict.facts["last_size"]))
            else:
                return SignedCheckpoint.from_json(answer)
        raise ExternalFailure("Other publishers kept moving the log's checkpoint.", code="signer.contended")

    def health(self) -> dict[str, Any]:
        """The signer's state.

        Returns:
            `public_url`, `origin`, `log_id`, `attested`, `checkpoint_size`, `checkpoint_root`,
            `issuing_valid_until`, `documents` (public files by name), `network`, `uid`.

        Raises:
            ExternalFailure: the signer is not there.
        """
        return self._ask({"verb": "health"})

    def rotate(self) -> dict[str, Any]:
        """Have a new issuing CA made; the answer is that of `health`, with the new documents."""
        return self._ask({"verb": "rotate"})

    def _ask(self, message: dict[str, Any], file: int | None = None) -> dict[str, Any]:
        try:
            with self._connected() as connection:
                # A signer that refuses this peer says so and closes, maybe before it was asked anything.
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    wire.send(connection, message, file)
                received = wire.receive(connection)
        except OSError as error:
            raise ExternalFailure(
                f"The signer does not answer at {self._path}: {error}",
                code="signer.down",
                hint="Builds wait and nothing unsigned is published; see the signer's log.",
            ) from error
        if received is None:
            raise ExternalFailure("The signer closed the connection.", code="signer.down")
        answer, unexpected = received
        if unexpected is not None:
            os.close(unexpected)
        wire.raise_failure(answer)
        return answer

    @contextlib.contextmanager
    def _connected(self) -> Iterator[socket.socket]:
        # Through the folder's descriptor, since an address has room for 107 bytes only (unix(7)).
        folder = os.open(self._path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.settimeout(self._timeout)
                connection.connect(f"/proc/self/fd/{folder}/{self._path.name}")
                yield connection
        finally:
            os.close(folder)
