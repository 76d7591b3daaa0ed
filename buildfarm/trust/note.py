"""Checkpoints as signed notes (C2SP tlog-checkpoint and signed-note), with an Ed25519 key."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ed25519

from buildfarm.errors import IntegrityFailure, InvalidInput

_ED25519 = b"\x01"  # C2SP signed-note signature type
_ORIGIN = re.compile(r"[!-*,-~]{1,255}")
_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")
_SIGNATURE = re.compile(r"— ([^\s+]+) ([A-Za-z0-9+/]+={0,2})")
_MAX = 64 * 1024


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A log's state: its origin, number of leaves and root hash."""

    origin: str
    size: int
    root: bytes

    def text(self) -> str:
        """The note's text, up to and including the newline before the blank line."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"


@dataclass(frozen=True, slots=True)
class Note:
    """A parsed note; its signatures are claims until `verify` was called."""

    checkpoint: Checkpoint
    #: `(key name, first 4 bytes of the key id, signature)`
    signatures: tuple[tuple[str, bytes, bytes], ...]


def log_id(origin: str, key: ed25519.Ed25519PublicKey) -> bytes:
    """The 32 bytes of which a note's key hash is the beginning: SHA-256(origin | LF | 01 | key)."""
    return hashlib.sha256(origin.encode() + b"\n" + _ED25519 + key.public_bytes_raw()).digest()


def sign(checkpoint: Checkpoint, key: ed25519.Ed25519PrivateKey) -> str:
    """The note: text, blank line, one signature line. The same checkpoint gives the same note."""
    text = checkpoint.text()
    key_hash = log_id(checkpoint.origin, key.public_key())[:4]
    signature = base64.b64encode(key_hash + key.sign(text.encode())).decode()
    return f"{text}\n— {checkpoint.origin} {signature}\n"


def parse(note: str) -> Note:
    """Read a note strictly.

    Raises:
        InvalidInput: it is not a checkpoint with at least one signature, or has more than 64 KiB.
    """
    text, blank, block = note.partition("\n\n")
    lines = text.split("\n")
    if len(note) > _MAX or not blank or len(lines) != 3 or not block.endswith("\n"):
        raise _malformed("it needs three lines, a blank line and signature lines")
    origin, size, root = lines
    if not _ORIGIN.fullmatch(origin) or not _SIZE.fullmatch(size):
        raise _malformed("its origin or size cannot be read")
    checkpoint = Checkpoint(origin, int(size), _decode(root))
    if len(checkpoint.root) != hashlib.sha256().digest_size:
        raise _malformed("its root hash has not 32 bytes")
    signatures = []
    for line in block.removesuffix("\n").split("\n"):
        match = _SIGNATURE.fullmatch(line)
        blob = _decode(match[2]) if match else b""
        if match is None or len(blob) < 5:
            raise _malformed("a signature line cannot be read")
        signatures.append((match[1], blob[:4], blob[4:]))
    return Note(checkpoint, tuple(signatures))


def verify(note: Note, key_id: bytes, key: ed25519.Ed25519PublicKey) -> None:
    """Check the log's own signature; those of others (witnesses) are left alone.

    Raises:
        IntegrityFailure: the log did not sign this.
    """
    text = note.checkpoint.text().encode()
    for name, key_hash, signature in note.signatures:
        if name == note.checkpoint.origin and key_hash == key_id[:4]:
            try:
                key.verify(signature, text)
            except InvalidSignature:
                break
            return
    raise IntegrityFailure("The checkpoint is not signed by the log.", code="verify.checkpoint-signature")


def _decode(text: str) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise _malformed("a base64 value cannot be read") from None
    if base64.b64encode(data).decode() != text:
        raise _malformed("a base64 value is not written in its one form")
    return data


def _malformed(why: str) -> InvalidInput:
    return InvalidInput(f"This is not a checkpoint: {why}.", code="note.malformed")
