"""A running log in pieces: server-sent events, and the same by polling where no connection is free.

The id of an event is the byte offset at which its segment ends, so a browser that reconnects goes on
exactly there (`Last-Event-ID`, WHATWG HTML 9.2). `done` is a named event: without it a browser would
reconnect to a finished log for ever.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from flask import Blueprint, Response, current_app, jsonify, request

from buildfarm.db.engine import Database
from buildfarm.errors import FarmError
from buildfarm.farm import logs
from buildfarm.farm.rules import State
from webapp.context import farm, require
from webapp.pages import loglines
from webapp.pages.query import digits, number

blueprint = Blueprint("live", __name__)
_SEGMENTS = 16


@dataclass(frozen=True)
class Pace:
    """Seconds: between looks at the log, between signs of life, of one connection at most."""

    poll_s: float = 0.5
    heartbeat_s: float = 15.0
    life_s: float = 600.0


class Busy(FarmError):
    """Every live connection of this process is taken."""

    status = 503
    default_code = "log.viewers"


class Viewers:
    """The places for live connections; each holds a thread, so they are counted."""

    def __init__(self, most: int) -> None:
        self._free = threading.BoundedSemaphore(most)

    def enter(self) -> None:
        """Take a place.

        Raises:
            Busy: there is none.
        """
        if not self._free.acquire(blocking=False):
            raise Busy("Every live log connection of this process is taken.", hint="Ask /tail instead.")

    def leave(self) -> None:
        """Give the place back."""
        self._free.release()


@blueprint.get("/jobs/<job_id>/events")
def events(job_id: str) -> Response:
    """The log of an attempt as it grows, from `Last-Event-ID` or `offset` (bytes) on."""
    require("view")
    attempt, start = number("attempt"), digits(request.headers.get("Last-Event-ID")) or number("offset") or 0
    with farm().database.read() as session:
        attempt = logs.attempt_of(session, job_id, attempt).number
    viewers: Viewers = current_app.extensions["log_viewers"]
    viewers.enter()
    stream = follow(farm().database, job_id, attempt, start, current_app.extensions["log_pace"])
    response = Response(stream, content_type="text/event-stream; charset=utf-8")
    response.call_on_close(viewers.leave)
    response.headers.update({"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
    return response


@blueprint.get("/jobs/<job_id>/tail")
def tail(job_id: str) -> Response:
    """The next pieces after `offset`, at once: what a page polls when it gets no connection."""
    require("view")
    start = number("offset") or 0
    attempt = number("attempt")
    pieces, done = _next(farm().database, job_id, attempt, start)
    following = pieces[-1]["end"] if pieces else start
    return jsonify(items=pieces, next=following, done=done)


def follow(database: Database, job_id: str, attempt: int, start: int, pace: Pace) -> Iterator[str]:
    """The event stream; a short transaction for each look, none while it waits."""
    yield "retry: 1000\n\n"
    began = spoke = time.monotonic()
    while time.monotonic() - began < pace.life_s:
        pieces, done = _next(database, job_id, attempt, start)
        for piece in pieces:
            start = piece["end"]
            yield f"id: {start}\ndata: {json.dumps(piece)}\n\n"
        if done:
            yield f"id: {start}\nevent: done\ndata: {{}}\n\n"
            return
        if pieces:
            spoke = time.monotonic()
        elif time.monotonic() - spoke >= pace.heartbeat_s:
            spoke = time.monotonic()
            yield ": still here\n\n"
        if len(pieces) < _SEGMENTS:
            time.sleep(pace.poll_s)


def _next(
    database: Database, job_id: str, attempt: int | None, start: int
) -> tuple[list[dict[str, Any]], bool]:
    """The next segments as HTML, and whether they are the last ever."""
    with database.read() as session:
        row = logs.attempt_of(session, job_id, attempt)
        over, size = row.state != State.RUNNING, row.log_bytes
        found = logs.segments(session, job_id, row.number, start, _SEGMENTS)
        pieces = [
            {
                "phase": segment.phase,
                "end": segment.start + segment.size,
                "html": "".join(loglines.chunks(list(logs.lines(segment)))),
            }
            for segment in found
        ]
    following = found[-1].start + found[-1].size if found else start
    return pieces, over and following >= size
