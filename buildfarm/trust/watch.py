"""Holds a farm's log against what this machine saw of it before, and bundles against the log.

A signed checkpoint binds only who remembers it. So the farm's newest one must continue the remembered
one, and the state in which a bundle is proved must be the beginning of the newest one (RFC 9162
section 2.1.4). Otherwise two histories are shown, or one was taken back.
"""

from __future__ import annotations

from functools import cached_property

from buildfarm.errors import ExternalFailure, IntegrityFailure, InvalidInput
from buildfarm.journal import merkle
from buildfarm.trust import note
from buildfarm.trust.memory import CheckpointMemory
from buildfarm.trust.note import Checkpoint
from buildfarm.trust.remote import RemoteIndex
from buildfarm.trust.report import Check
from buildfarm.trust.root import TrustedRoot

NAME = "log-memory"
_HINT = "Do not use the file; keep it with its bundle and tell the farm's administrator."


def signed_head(text: str, trusted: TrustedRoot) -> tuple[bytes, Checkpoint]:
    """The id of the log that signed a note, and the state it signed.

    Raises:
        InvalidInput: it is no note.
        IntegrityFailure: no log of the trusted root signed it.
    """
    parsed = note.parse(text)
    for key in trusted.logs:
        # The id is made of origin and key: a note of another origin is another log's.
        if note.log_id(parsed.checkpoint.origin, key.key) == key.log_id:
            note.verify(parsed, key.log_id, key.key)
            return key.log_id, parsed.checkpoint
    raise IntegrityFailure(
        f"The checkpoint of {parsed.checkpoint.origin} is of no log of the trusted root.",
        code="verify.checkpoint-signature",
    )


class LogWatch:
    """Judges the checkpoints of bundles; asks the farm for its newest one once."""

    def __init__(self, memory: CheckpointMemory, trusted: TrustedRoot, farm: RemoteIndex | None) -> None:
        """Watch the log of `farm`; without one, remember and compare equal sizes only."""
        self._memory, self._trusted, self._farm = memory, trusted, farm

    def check(self, log_id: bytes, checkpoint: Checkpoint) -> Check:
        """Judge the verified checkpoint of one bundle.

        Raises:
            ExternalFailure: the farm showed its log and then did not prove it.
            EnvironmentProblem: the state file cannot be used.
        """
        try:
            if self._farm is None:
                return self._unproven(log_id, checkpoint, "no farm is asked")
            try:
                seen_id, newest = self._newest
            except ExternalFailure:
                return self._unproven(log_id, checkpoint, "the farm's log cannot be reached")
            if seen_id != log_id:
                raise IntegrityFailure(
                    "The bundle is proved in another log than the farm's.",
                    hint=_HINT,
                    expected=seen_id.hex(),
                    got=log_id.hex(),
                )
            sentence = self._memory.head(log_id, newest, self._farm.consistency)
            self._demand_beginning(checkpoint, newest, self._farm)
            return Check(NAME, True, f"{sentence}; the bundle's {checkpoint.size} are their beginning")
        except (IntegrityFailure, InvalidInput) as error:
            expected, got = (str(error.facts.get(key, "")) for key in ("expected", "got"))
            return Check(NAME, False, error.message, expected, got, error.hint or _HINT)

    @cached_property
    def _newest(self) -> tuple[bytes, Checkpoint]:
        text = self._farm.checkpoint() if self._farm else None
        if text is None:
            raise IntegrityFailure("The farm shows no state of its log, and yet it proved a bundle in one.")
        return signed_head(text, self._trusted)

    def _unproven(self, log_id: bytes, checkpoint: Checkpoint, why: str) -> Check:
        return Check(NAME, True, f"not checked, {why}: {self._memory.see(log_id, checkpoint)}", checked=False)

    @staticmethod
    def _demand_beginning(checkpoint: Checkpoint, newest: Checkpoint, farm: RemoteIndex) -> None:
        if checkpoint.size > newest.size:
            raise IntegrityFailure(
                "The bundle is proved in a longer log than the farm has now: the log was rolled back.",
                expected=f"at least {checkpoint.size}",
                got=str(newest.size),
            )
        proof = farm.consistency(checkpoint.size, newest.size)
        try:
            merkle.verify_consistency(checkpoint.size, newest.size, checkpoint.root, newest.root, proof)
        except IntegrityFailure as error:
            raise IntegrityFailure(
                "The log in which the bundle is proved is not the beginning of the farm's log.",
                expected=newest.root.hex(),
                got=checkpoint.root.hex(),
            ) from error
