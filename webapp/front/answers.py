"""Answers as bytes: what `decide` says, remembered by the whole head that was asked and the verdict.

A remembered answer holds while its verdict is fresh and the page tree is the one it was made from. The
tree's `serial` file is looked at before every answer, so that nothing older than the newest publish is
sent: a replaced file has no name any more, which one fstat(2) of the open descriptor tells.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import secrets
import zlib
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path
from typing import NamedTuple

from buildfarm.index.decide import Answer, Ask, decide
from buildfarm.index.pagetree import PageTree, Stored
from webapp.front.grammar import Request
from webapp.front.verdicts import Known

#: Bodies up to this size are kept and sent from memory; larger ones go from the disk to the socket.
LARGEST_KEPT = 256 * 1024
_KEPT_BYTES = 64 * 1024 * 1024
_ENTRIES = 20_000


class File(NamedTuple):
    """A slice of a file to send."""

    stored: Stored
    start: int
    length: int

    def open(self) -> int:
        """A descriptor of the file.

        Raises:
            OSError: it is gone, or was replaced since it was decided about.
        """
        descriptor = os.open(self.stored.path, os.O_RDONLY | os.O_CLOEXEC)
        if Stored.of(self.stored.path, os.fstat(descriptor)) != self.stored:
            os.close(descriptor)
            raise OSError(errno.ESTALE, "the file was replaced")
        return descriptor


class Ready:
    """An answer, ready to send: `head` follows the Date line; a body comes from memory or from a file."""

    __slots__ = ("body", "file", "generation", "head", "is_last", "known", "line", "start")

    def __init__(
        self, known: Known, generation: int, start: bytes, head: bytes, line: bytes, *, is_last: bool
    ) -> None:
        self.known, self.generation = known, generation
        self.start, self.head, self.line, self.is_last = start, head, line, is_last
        self.body = b""
        self.file: File | None = None


class Answers:
    """The answers of one front."""

    def __init__(self, pages: Path) -> None:
        self._tree = PageTree(pages)
        self._serial_path = pages / "serial"
        self._serial = -1
        self._generation = 0
        self._key = secrets.token_bytes(32)
        self._ready: dict[bytes, Ready] = {}
        self._kept_bytes = 0

    def has_channel(self, channel: str) -> bool:
        """Whether pages of the channel are rendered here."""
        return self._tree.has_channel(channel)

    def recall(self, head: bytes, now: float) -> Ready | None:
        """The answer to these very bytes, when nothing that it depends on has changed."""
        ready = self._ready.get(hashlib.blake2b(head, key=self._key, digest_size=16).digest())
        if ready is None or ready.known.until <= now or ready.generation != self._current():
            return None
        return ready

    def make(self, head: bytes, request: Request, known: Known) -> Ready | None:
        """The answer to a request, kept for the next one like it; None when web must answer."""
        generation = self._current()
        ask = Ask(
            method=request.method,
            channel=request.channel,
            path=request.path,
            headers=request.headers,
            query=request.query,
        )
        answer = decide(ask, known.verdict, self._tree)
        if answer.ask_web:
            return None
        try:
            if answer.inflate:
                answer = _inflated(answer)
            ready = _ready(request, answer, known, generation)
            if request.method == "GET":
                _load(ready, answer)
        except OSError:
            return None
        self._keep(head, ready)
        return ready

    def _keep(self, head: bytes, ready: Ready) -> None:
        key = hashlib.blake2b(head, key=self._key, digest_size=16).digest()
        if old := self._ready.pop(key, None):
            self._kept_bytes -= len(old.body)
        while self._ready and (
            len(self._ready) >= _ENTRIES or self._kept_bytes + len(ready.body) > _KEPT_BYTES
        ):
            self._kept_bytes -= len(self._ready.pop(next(iter(self._ready))).body)
        self._ready[key] = ready
        self._kept_bytes += len(ready.body)

    def _current(self) -> int:
        """The number of the tree's present state, as this front counts them."""
        if self._serial >= 0:
            if os.fstat(self._serial).st_nlink:
                return self._generation
            os.close(self._serial)
            self._serial = -1
        with contextlib.suppress(OSError):
            self._serial = os.open(self._serial_path, os.O_RDONLY | os.O_CLOEXEC)
        self._generation += 1
        return self._generation


def _ready(request: Request, answer: Answer, known: Known, generation: int) -> Ready:
    status = HTTPStatus(answer.status)
    size = dict(answer.headers).get("Content-Length", "0")
    facts = {
        "method": request.method,
        "path": f"/{request.channel}/{request.path}",
        "status": answer.status,
        "bytes": int(size),
    }
    fields = [f"{name}: {value}\r\n" for name, value in answer.headers]
    fields.append("X-Content-Type-Options: nosniff\r\n")
    if request.is_last:
        fields.append("Connection: close\r\n")
    return Ready(
        known,
        generation,
        f"HTTP/1.1 {answer.status} {status.phrase}\r\nDate: ".encode(),
        "".join(["\r\n", *fields, "\r\n"]).encode("latin-1"),
        json.dumps(facts)[1:].encode(),
        is_last=request.is_last,
    )


def _inflated(answer: Answer) -> Answer:
    """The same answer with its body in hand: few clients want pages as they are, and they get them whole."""
    if not answer.file:
        return answer
    body = zlib.decompress(_read(File(answer.file, answer.start, answer.length)), wbits=31)
    headers = (*answer.headers, ("Content-Length", str(len(body))))
    return replace(answer, headers=headers, body=body, file=None, inflate=False)


def _load(ready: Ready, answer: Answer) -> None:
    ready.body = answer.body
    if answer.file:
        file = File(answer.file, answer.start, answer.length)
        if file.length > LARGEST_KEPT:
            ready.file = file
        else:
            ready.body = _read(file)


def _read(file: File) -> bytes:
    descriptor = file.open()
    try:
        return os.pread(descriptor, file.length, file.start)
    finally:
        os.close(descriptor)
