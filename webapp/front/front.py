"""What the connections of one front share: answers, verdicts, the clock, the log, who is connected."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections import Counter
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus
from typing import Protocol

from buildfarm import clock, log
from webapp.front.answers import Answers
from webapp.front.verdicts import Verdicts

_LINES_AT_ONCE = 5_000
_log = log.get(__name__)


class Party(Protocol):
    """A connection, or an end of one, as the front sees it."""

    transport: asyncio.Transport

    def is_overdue(self, tick: int) -> bool:
        """Whether it has had its time."""

    def drain(self) -> None:
        """End as soon as what is on its way has come to its end."""


@dataclass
class Front:
    """One front; `tick` counts seconds since it opened."""

    answers: Answers
    verdicts: Verdicts
    web: str
    scheme: str
    #: How many connections one address may have.
    per_address: int
    #: Seconds a client has for a whole head, and between requests.
    head_s: float
    idle_s: float

    def __post_init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.tick = 0
        self.date = b""
        self.is_draining = False
        self.parties: set[Party] = set()
        self._addresses: Counter[str] = Counter()
        self._lines: list[bytes] = []
        self.beat()

    def beat(self) -> None:
        """Once a second: the date, the log, whoever has had its time."""
        self.tick += 1
        self.date = formatdate(usegmt=True).encode()
        self.flush()
        for party in [one for one in self.parties if one.is_overdue(self.tick)]:
            party.transport.abort()
        self.loop.call_later(1.0, self.beat)

    def note(self, line: bytes) -> None:
        """A line for the access log: JSON without its opening brace; written with the others of a second."""
        self._lines.append(line)
        if len(self._lines) >= _LINES_AT_ONCE:
            self.flush()

    def flush(self) -> None:
        """Write the access log's lines."""
        if self._lines:
            now = clock.iso(clock.now())
            start = f'{{"event": "request", "process": "front", "timestamp": "{now}", '.encode()
            text = start + (b"\n" + start).join(self._lines) + b"\n"
            self._lines.clear()
            os.write(sys.stderr.fileno(), text)

    def enter(self, party: Party, address: str) -> bool:
        """A client came; False when its address has too many connections."""
        self.parties.add(party)
        self._addresses[address] += 1
        return self._addresses[address] <= self.per_address

    def leave(self, party: Party, address: str) -> None:
        """A client went."""
        self.parties.discard(party)
        self._addresses[address] -= 1
        if not self._addresses[address]:
            del self._addresses[address]

    def replace(self, party: Party, *successors: Party) -> None:
        """A connection became a splice."""
        self.parties.discard(party)
        self.parties.update(successors)

    def drain(self) -> None:
        """Take no new requests."""
        self.is_draining = True
        for party in list(self.parties):
            party.drain()


def refusal(status: int, sentence: str) -> bytes:
    """What the access log says of an answer that the front gave of its own."""
    return json.dumps({"status": status, "message": sentence})[1:].encode()


def problem(status: int, sentence: str) -> bytes:
    """A whole answer that ends its connection: one sentence."""
    body = (sentence + "\n").encode()
    fields = [
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", f"Date: {formatdate(usegmt=True)}",
        "Content-Type: text/plain; charset=utf-8", f"Content-Length: {len(body)}", "Cache-Control: no-store",
        *(["Retry-After: 2"] if status == 503 else []), "Connection: close", "", "",
    ]  # fmt: skip
    return "\r\n".join(fields).encode() + body
