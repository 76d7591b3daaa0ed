"""What web said about a credential and a channel, remembered for as long as that may be trusted.

Kept under a keyed digest whose key dies with this process; the credential itself is never kept. An
allow is fresh for 3 s and goes on for 15 minutes while web or what it needs is away; a refusal is
remembered for 2 s, in a place of its own, so that whoever guesses pushes out nothing that is good.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import secrets
from collections.abc import Callable

from buildfarm.index.decide import Verdict

FRESH_S = 3.0
STALE_S = 900.0
REFUSED_S = 2.0
_KNOWN = 20_000
_REFUSED = 2_000
#: Longer than web needs when it is well; after that it counts as away. Whoever is known waits less.
_PATIENCE_S, _PATIENCE_KNOWN_S = 5.0, 1.0
#: Questions at web at the same time; the others wait, and count as unanswered when it lasts too long.
_AT_ONCE = 32
_LONGEST_ANSWER = 16 * 1024


class Known:
    """A verdict: trusted until `until`, and until `stale_until` while nobody can be asked."""

    __slots__ = ("stale_until", "until", "verdict")

    def __init__(self, verdict: Verdict) -> None:
        self.verdict = verdict
        self.until = self.stale_until = 0.0


class Verdicts:
    """The remembered verdicts of one front; used by one event loop."""

    def __init__(self, web: str, *, scheme: str, clock: Callable[[], float]) -> None:
        self._web, self._scheme, self._clock = web, scheme, clock
        self._key = secrets.token_bytes(32)
        self._known: dict[bytes, Known] = {}
        self._refused: dict[bytes, Known] = {}
        self._asking: dict[bytes, asyncio.Task[Known | None]] = {}
        self._room = asyncio.Semaphore(_AT_ONCE)

    def recall(self, channel: str, authorization: str) -> Known | None:
        """What is known and fresh."""
        key = self._digest(channel, authorization)
        known = self._known.get(key) or self._refused.get(key)
        return known if known is not None and known.until > self._clock() else None

    def ask(self, channel: str, authorization: str, address: str) -> asyncio.Task[Known | None]:
        """Ask web, once for however many wait; None when it cannot tell and nothing usable is known."""
        key = self._digest(channel, authorization)
        task = self._asking.get(key)
        if task is None:
            task = asyncio.ensure_future(self._ask(key, channel, authorization, address))
            self._asking[key] = task
            task.add_done_callback(lambda _: self._asking.pop(key, None))
        return task

    async def _ask(self, key: bytes, channel: str, authorization: str, address: str) -> Known | None:
        answer = ""
        patience = _PATIENCE_KNOWN_S if key in self._known else _PATIENCE_S
        with contextlib.suppress(OSError, EOFError, asyncio.LimitOverrunError):
            async with asyncio.timeout(patience), self._room:
                answer = await self._fetch(channel, authorization, address)
        now = self._clock()
        verdict = _ANSWERS.get(answer)
        if verdict is None:
            return self._extend(key, now)
        if verdict in {Verdict.ALLOW, Verdict.PUBLIC}:
            return self._allow(key, verdict, now)
        return self._refuse(key, verdict, now)

    def _extend(self, key: bytes, now: float) -> Known | None:
        """A known allow goes on while nobody can be asked; asked again after the time of a fresh one."""
        known = self._known.get(key)
        if known is None or known.stale_until <= now:
            return None
        known.until = min(now + FRESH_S, known.stale_until)
        return known

    def _allow(self, key: bytes, verdict: Verdict, now: float) -> Known:
        self._refused.pop(key, None)
        known = self._known.get(key)
        if known is None or known.verdict is not verdict:
            known = Known(verdict)
            _put(self._known, _KNOWN, key, known)
        known.until, known.stale_until = now + FRESH_S, now + STALE_S
        return known

    def _refuse(self, key: bytes, verdict: Verdict, now: float) -> Known:
        if known := self._known.pop(key, None):
            known.until = now  # answers that were made for it are none for whoever is shut out now
        refused = Known(verdict)
        refused.until = now + REFUSED_S
        _put(self._refused, _REFUSED, key, refused)
        return refused

    async def _fetch(self, channel: str, authorization: str, address: str) -> str:
        """`<status> <verdict>` of web's answer."""
        reader, writer = await asyncio.open_unix_connection(self._web, limit=_LONGEST_ANSWER)
        try:
            lines = [
                f"GET /_verdict/{channel} HTTP/1.1", "Host: front", "Accept: application/json",
                f"X-Forwarded-For: {address}", f"X-Forwarded-Proto: {self._scheme}", "Connection: close",
            ]  # fmt: skip
            lines += [f"Authorization: {authorization}"] if authorization else []
            writer.write("\r\n".join([*lines, "", ""]).encode("latin-1"))
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        finally:
            writer.close()
        status, *fields = head.split("\r\n")
        said = [line.partition(":")[2].strip() for line in fields if line.lower().startswith("x-verdict:")]
        return " ".join((status[9:12], *said))

    def _digest(self, channel: str, authorization: str) -> bytes:
        text = f"{channel}\0{authorization}".encode("latin-1")
        return hashlib.blake2b(text, key=self._key, digest_size=16).digest()


def _put(where: dict[bytes, Known], most: int, key: bytes, known: Known) -> None:
    if len(where) >= most:
        del where[next(iter(where))]
    where[key] = known


_ANSWERS = {
    "204 allow": Verdict.ALLOW,
    "204 public": Verdict.PUBLIC,
    "401": Verdict.UNKNOWN,
    "403": Verdict.FORBIDDEN,
}
