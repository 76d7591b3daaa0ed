"""What goes over the signer's socket besides facts and statements, typed at both ends."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from buildfarm.trust.facts import Sha256

_Hash = Annotated[bytes, Field(min_length=32, max_length=32)]
_Proof = Annotated[tuple[_Hash, ...], Field(max_length=128)]
_Size = Annotated[int, Field(ge=0, lt=2**53)]


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_bytes="base64", val_json_bytes="base64")


class EntryProof(_Message):
    """Where an attested entry stands in the log, with the proof for the checkpoint's size."""

    entry_body_sha256: Sha256
    log_index: _Size
    inclusion_proof: _Proof


class CheckpointRequest(_Message):
    """The log's state as the control zone's journal has it on disk."""

    size: Annotated[_Size, Field(ge=1)]
    root: _Hash
    #: Size of the signer's last checkpoint, from which `consistency_proof` starts; 0 when there is none.
    old_size: _Size
    consistency_proof: _Proof
    entries: Annotated[tuple[EntryProof, ...], Field(max_length=10_000)]


@dataclass(frozen=True, slots=True)
class SignedCheckpoint:
    """The signer's answer to a checkpoint request."""

    #: Signed note (C2SP).
    note: str
    #: 32 bytes.
    log_id: bytes
    #: `(log index, seconds since 1970, signature)` for each entry asked for, in that order.
    promises: tuple[tuple[int, int, bytes], ...]

    def as_json(self) -> dict[str, Any]:
        """The form on the socket."""
        return {
            "note": self.note,
            "log_id": base64.b64encode(self.log_id).decode(),
            "sets": [
                {"log_index": index, "integrated_time": time, "set": base64.b64encode(value).decode()}
                for index, time, value in self.promises
            ],
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> SignedCheckpoint:
        """The inverse of `as_json`."""
        return cls(
            note=value["note"],
            log_id=base64.b64decode(value["log_id"]),
            promises=tuple(
                (int(each["log_index"]), int(each["integrated_time"]), base64.b64decode(each["set"]))
                for each in value["sets"]
            ),
        )
