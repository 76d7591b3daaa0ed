"""The container's side of its only door: a unix socket, and a loopback port that leads to it.

pip and uv cannot speak to a unix socket, so a forwarder listens on 127.0.0.1.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import stat
import threading
import urllib.parse
from typing import BinaryIO

SOCKET = "/run/farm/farm.sock"
PORT = 8080
_CHUNK = 256 * 1024


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self) -> None:
        super().__init__("farm", timeout=300)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(SOCKET)


def put(path: str, body: bytes | BinaryIO, length: int) -> None:
    """PUT bytes or a file to the farm; raises RuntimeError with its sentence when it refuses."""
    connection = _UnixConnection()
    try:
        connection.request("PUT", path, body=body, headers={"Content-Length": str(length)})
        answer = connection.getresponse()
        sentence = answer.read().decode(errors="replace").strip()
    except OSError as error:
        # A refusal can come, and close the connection, while the body is still being sent.
        raise RuntimeError(f"the farm broke off {path}: {error}") from error
    finally:
        connection.close()
    if answer.status != 201:
        raise RuntimeError(f"the farm refused {path}: {sentence}")


def put_file(path: str) -> None:
    """Hand a finished file to the farm under its own name; raises RuntimeError when it is none."""
    name = os.path.basename(path)
    try:
        # A FIFO would have us wait for a writer, a link is not the build's own file.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except (OSError, ValueError) as error:
        raise RuntimeError(f"{name[:80]!r} cannot be handed out: {error}") from error
    with open(descriptor, "rb") as file:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode):
            raise RuntimeError(f"{name[:80]!r} cannot be handed out: it is no regular file")
        put("/out/" + urllib.parse.quote(name, safe="+!~"), file, facts.st_size)


def put_facts(facts: dict[str, object]) -> None:
    """Say the last word; when this returns, the farm has read what this container used."""
    body = json.dumps(facts).encode()
    put("/facts", body, len(body))


def _pump(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(_CHUNK):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        source.close()
        target.close()


def _serve(listener: socket.socket) -> None:
    while True:
        client, _ = listener.accept()
        farm = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            farm.connect(SOCKET)
            for pair in ((client, farm), (farm, client)):
                threading.Thread(target=_pump, args=pair, daemon=True).start()
        except (OSError, RuntimeError):  # a full backlog, or no thread left: this client retries
            client.close()
            farm.close()


def open_port() -> None:
    """Listen on 127.0.0.1:8080 and forward each connection to the socket, in the background."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", PORT))
    listener.listen(128)
    threading.Thread(target=_serve, args=(listener,), daemon=True).start()
