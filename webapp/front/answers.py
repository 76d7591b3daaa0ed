"""Answers as bytes: what `decide` says, remembered by the whole head that was asked.

A remembered answer is good while its verdict is fresh and the page tree is the one it was made from. The
tree's `serial` file is looked at before every answer, so that nothing older than the newest change is sent:
a file that was replaced has no name any more, which one fstat(2) of the open descriptor tells.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import zlib
from http import HTTPStatus
from pathlib import Path

from buildfarm.index.decide import Answer, Ask, decide
from buildfarm.index.pagetree import PageTree, Stored
from webapp.front.grammar import Request
from webapp.front.verdicts import Known

#: Slices of files up to this size are sent from memory; larger ones go from the disk to the socket.
_FROM_MEMORY = 256 * 1024
#: What is kept: answers, and bytes of all of them together; one that is larger than half is not kept.
_ENTRIES, _BYTES = 20_000, 64 * 1024 * 1024
_ENTRY_BYTES = 1024  # of an entry beside its body, roughly
_GZIP = 31
#: A file that was replaced between being found and being opened is looked for so often.
TRIES = 10


class Ready:
    """An answer, ready to send: `start`, the date, `head`; then `body`, or `length` bytes of `file`."""

    __slots__ = (
        "body", "file", "generation", "head", "is_last", "known", "length", "line", "offset", "start",
    )  # fmt: skip

    def __init__(self, request: Request, answer: Answer, body: bytes, known: Known, generation: int) -> None:
        self.known, self.generation, self.is_last = known, generation, request.is_last
        self.file: Stored | None = None
        if answer.file and answer.length > _FROM_MEMORY and not answer.inflate:
            self.file, self.offset, self.length = answer.file, answer.start, answer.length
        fields = [f"{name}: {value}\r\n" for name, value in answer.headers]
        if answer.inflate:
            fields.append(f"Content-Length: {len(body)}\r\n")
        fields.append("X-Content-Type-Options: nosniff\r\n")
        if request.is_last:
            fields.append("Connection: close\r\n")
        if request.method == "HEAD":
            self.file, body = None, b""
        self.body = body
        self.start = f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}\r\nDate: ".encode()
        self.head = "".join(["\r\n", *fields, "\r\n"]).encode("latin-1")
        facts = {
            "method": request.method, "path": f"/{request.channel}/{request.path}", "status": answer.status,
            "bytes": self.length if self.file else len(body),
        }  # fmt: skip
        self.line = json.dumps(facts)[1:].encode()


class Answers:
    """The answers of one front; used by one event loop."""

    def __init__(self, pages: Path) -> None:
        self._tree = PageTree(pages)
        self._serial_path = self._tree.root / "serial"
        self._serial = -1
        self._generation = 0
        self._key = secrets.token_bytes(32)
        self._kept: dict[bytes, Ready] = {}
        self._kept_bytes = 0

    def has_channel(self, channel: str) -> bool:
        """Whether the tree has the channel."""
        return self._tree.has_channel(channel)

    def recall(self, head: bytes, now: float) -> Ready | None:
        """The answer to these very bytes, when nothing that it depends on has changed."""
        ready = self._kept.get(hashlib.blake2b(head, key=self._key, digest_size=16).digest())
        if ready is None or ready.known.until <= now or ready.generation != self._current():
            return None
        return ready

    def make(self, head: bytes, request: Request, known: Known) -> Ready | None:
        """The answer to a request, kept for the next one like it; None when it is web's to give."""
        generation = self._current()
        ask = Ask(request.method, request.channel, request.path, request.headers, request.query)
        for _ in range(TRIES):
            answer = decide(ask, known.verdict, self._tree)
            if answer.ask_web:
                return None
            body = answer.body
            if answer.file and (answer.inflate or answer.length <= _FROM_MEMORY):
                found = _read(answer.file, answer.start, answer.length)
                if found is None:
                    continue
                body = zlib.decompress(found, _GZIP) if answer.inflate else found
            ready = Ready(request, answer, body, known, generation)
            self._keep(head, ready)
            return ready
        return None

    def _keep(self, head: bytes, ready: Ready) -> None:
        key = hashlib.blake2b(head, key=self._key, digest_size=16).digest()
        if old := self._kept.pop(key, None):
            self._kept_bytes -= _ENTRY_BYTES + len(old.body)
        size = _ENTRY_BYTES + len(ready.body)
        if size > _BYTES // 2:
            return
        while self._kept and (len(self._kept) >= _ENTRIES or self._kept_bytes + size > _BYTES):
            oldest = self._kept.pop(next(iter(self._kept)))
            self._kept_bytes -= _ENTRY_BYTES + len(oldest.body)
        self._kept[key] = ready
        self._kept_bytes += size

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


def open_stored(file: Stored) -> int | None:
    """A descriptor of the file, when it is still the one that was decided about."""
    try:
        descriptor = os.open(file.path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    if Stored.of(file.path, os.fstat(descriptor)) == file:
        return descriptor
    os.close(descriptor)
    return None


def _read(file: Stored, start: int, length: int) -> bytes | None:
    descriptor = open_stored(file)
    if descriptor is None:
        return None
    try:
        return os.pread(descriptor, length, start)
    finally:
        os.close(descriptor)
