"""Messages on the signer's socket: four bytes of length, then JSON, with at most one descriptor."""

from __future__ import annotations

import json
import os
import socket
import struct
from typing import Any

from buildfarm import errors
from buildfarm.errors import ExternalFailure, FarmError, InvalidInput

#: Bytes of one message: a checkpoint that covers a thousand files of a long log has about 2 MB.
MAX_MESSAGE = 16 * 1024 * 1024
_LENGTH = struct.Struct("!I")
_CHUNK = 256 * 1024


def send(connection: socket.socket, value: dict[str, Any], descriptor: int | None = None) -> None:
    """Send one message; the descriptor travels with its first byte (SCM_RIGHTS)."""
    data = json.dumps(value).encode()
    if len(data) > MAX_MESSAGE:
        raise InvalidInput("The message to the signer is too long.", code="signer.message")
    framed = _LENGTH.pack(len(data)) + data
    sent = 0
    if descriptor is not None:
        sent = socket.send_fds(connection, [framed], [descriptor])
    connection.sendall(framed[sent:])


def receive(connection: socket.socket) -> tuple[dict[str, Any], int | None] | None:
    """Read one message and the descriptor that came with it, which is then the caller's to close.

    Returns:
        None at the end of the connection.

    Raises:
        InvalidInput: it is too long, is no JSON object, or brings more than one descriptor.
        ExternalFailure: the connection ended in the middle.
    """
    first, descriptors, _flags, _address = socket.recv_fds(connection, _LENGTH.size, 4)
    try:
        if not first:
            return None
        (length,) = _LENGTH.unpack(first + _exactly(connection, _LENGTH.size - len(first)))
        if length > MAX_MESSAGE or len(descriptors) > 1:
            raise InvalidInput("The message is too long or brings too many files.", code="signer.message")
        value = json.loads(_exactly(connection, length))
        if not isinstance(value, dict):
            raise InvalidInput("The message is no JSON object.", code="signer.message")
        return value, descriptors.pop() if descriptors else None
    except (ValueError, RecursionError) as error:
        raise InvalidInput("The message is no JSON.", code="signer.message") from error
    finally:
        for unwanted in descriptors:
            os.close(unwanted)


def failure(error: FarmError) -> dict[str, Any]:
    """An error as an answer."""
    kind = next(cls.__name__ for cls in type(error).__mro__ if cls.__module__ == errors.__name__)
    return {
        "error": kind,
        "message": error.message,
        "code": error.code,
        "hint": error.hint,
        "facts": {key: str(value) for key, value in error.facts.items()},
    }


def raise_failure(answer: dict[str, Any]) -> None:
    """Raise the error that an answer carries, if it carries one, as the class it was."""
    if "error" not in answer:
        return
    kinds = {cls.__name__: cls for cls in vars(errors).values() if isinstance(cls, type)}
    kind = kinds.get(str(answer["error"]), FarmError)
    raise kind(answer["message"], code=answer["code"], hint=answer["hint"], **answer["facts"])


def _exactly(connection: socket.socket, count: int) -> bytes:
    parts = bytearray()
    while len(parts) < count:
        part = connection.recv(min(_CHUNK, count - len(parts)))
        if not part:
            raise ExternalFailure("The other end closed the connection.", code="signer.closed")
        parts += part
    return bytes(parts)
