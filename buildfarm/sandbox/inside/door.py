"""The container's side of its only door: a unix socket, and a loopback port that leads to it.

pip and uv cannot speak to a unix socket, so a forwarder listens on 127.0.0.1.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import stat
import subprocess
import threading
import urllib.parse
from typing import BinaryIO

SOCKET = "/run/farm/farm.sock"
PORT = 8080
#: What clients in the container are told; it leads to the socket.
URL = f"http://127.0.0.1:{PORT}"
_CHUNK = 256 * 1024


def unpack(path: str, folder: str) -> None:
    """GET a tar of the farm and unpack it into a folder; what cannot be had is no loss."""
    head = f"GET {path} HTTP/1.1\r\nHost: farm\r\nConnection: close\r\n\r\n"
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as farm:
        farm.settimeout(30)
        farm.connect(SOCKET)
        farm.sendall(head.encode())
        with farm.makefile("rb") as answer:
            while answer.readline().strip():
                pass
            if not answer.peek(1):
                return
            command = ["tar", "--extract", "--ignore-zeros", "--file", "-", "--directory", folder]
            with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL) as tar:
                assert tar.stdin is not None  # noqa: S101 - it was asked for
                shutil.copyfileobj(answer, tar.stdin)


def put(path: str, body: bytes | BinaryIO, length: int) -> None:
    """PUT bytes or a file to the farm; raises RuntimeError with its sentence when it refuses.

    Written out: importing `http.client` costs more than a small file's whole way.
    """
    head = f"PUT {path} HTTP/1.1\r\nHost: farm\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
    answer = b""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as farm:
        farm.settimeout(300)
        try:
            farm.connect(SOCKET)
            try:
                farm.sendall(head.encode())
                if isinstance(body, bytes):
                    farm.sendall(body)
                else:
                    farm.sendfile(body)
            except OSError:
                pass  # a refusal can come, and end what is still being sent: it is read below
            while data := farm.recv(_CHUNK):
                answer += data
        except OSError as error:
            raise RuntimeError(f"the farm broke off {path}: {error}") from error
    status, _, rest = answer.partition(b"\r\n")
    if status.split()[1:2] != [b"201"]:
        sentence = rest.partition(b"\r\n\r\n")[2].decode(errors="replace").strip()
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
