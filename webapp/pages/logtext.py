"""A log as a text file: whole, in part, or its headers alone (RFC 9110 sections 9.3.2 and 14).

What is downloaded is not what is stored: control sequences are left out, so sizes are counted by going
through the text. A log only grows, so what was counted stays true while it is sent.
"""

from __future__ import annotations

from collections.abc import Iterator

from flask import Response, request

from buildfarm.db.engine import Database
from buildfarm.farm import logs
from buildfarm.farm.model import Attempt
from buildfarm.index.conditions import byte_range
from webapp.pages import loglines

_SEGMENTS = 16


def answer(database: Database, attempt: Attempt) -> Response:
    """The answer to a GET or HEAD of the attempt's log as it is now."""
    size = sum(map(len, _pieces(database, attempt)))
    etag = f'"{attempt.number:x}-{attempt.log_bytes:x}"'
    headers = {"Accept-Ranges": "bytes", "Cache-Control": "private, no-store", "ETag": etag}
    # RFC 9110 section 14.2: ranges are defined for GET alone; section 13.1.5: If-Range must be the very one.
    is_same = request.headers.get("If-Range", etag) == etag
    asked = request.headers.get("Range") if request.method == "GET" and is_same else None
    part = byte_range(asked, size)
    if isinstance(part, str):
        headers["Content-Range"] = f"bytes */{size}"
        return Response("", status=416, headers=headers, content_type="text/plain; charset=utf-8")
    start, length = part or (0, size)
    if part:
        headers["Content-Range"] = f"bytes {start}-{start + length - 1}/{size}"
    body = _slice(_pieces(database, attempt), start, length) if request.method == "GET" else ()
    response = Response(
        body, status=206 if part else 200, headers=headers, content_type="text/plain; charset=utf-8"
    )
    response.automatically_set_content_length = False
    response.content_length = length
    return response


def _pieces(database: Database, attempt: Attempt) -> Iterator[bytes]:
    """The text up to the size known of it, with a short transaction for each piece: nobody is held up."""
    start = 0
    while start < attempt.log_bytes:
        with database.read() as session:
            found = logs.segments(session, attempt.job_id, attempt.number, start, _SEGMENTS)
        for segment in found:
            if segment.start < attempt.log_bytes:
                yield loglines.plain(logs.lines(segment)).encode()
        start = found[-1].start + found[-1].size


def _slice(pieces: Iterator[bytes], start: int, length: int) -> Iterator[bytes]:
    for piece in pieces:
        part = piece[start : start + length]
        start = max(0, start - len(piece))
        length -= len(part)
        if part:
            yield part
        if not length:
            return
