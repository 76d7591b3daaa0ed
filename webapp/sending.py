"""Sending an `Answer`: bytes, or a slice of a blob by the server's own `sendfile` where it has one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import BinaryIO

from flask import Response, request

from buildfarm.index.decide import Answer
from webapp.context import farm

_CHUNK = 1 << 18


def send(answer: Answer) -> Response:
    """The answer as a response; a HEAD carries the headers of its GET."""
    body: bytes | Iterator[bytes] = answer.body
    if answer.blob and request.method == "GET":
        body = _file_body(answer)
    response = Response(
        b"" if request.method == "HEAD" else body, status=answer.status, headers=list(answer.headers)
    )
    response.automatically_set_content_length = False
    # Wrapped by nothing, so that the server sees its own file wrapper and sends with sendfile.
    response.direct_passthrough = not isinstance(body, bytes) and request.method == "GET"
    if answer.status == 304:
        del response.headers["Content-Type"]
    return response


def _file_body(answer: Answer) -> Iterator[bytes]:
    source = farm().blobs.open(answer.blob or "")
    source.seek(answer.start)
    wrapper = request.environ.get("wsgi.file_wrapper")
    size = os.fstat(source.fileno()).st_size
    if wrapper and answer.start + answer.length == size:
        return wrapper(source, _CHUNK)  # type: ignore[no-any-return] # gunicorn sends it with sendfile
    return _slices(source, answer.length)


def _slices(source: BinaryIO, left: int) -> Iterator[bytes]:
    with source:
        while left > 0 and (chunk := source.read(min(_CHUNK, left))):
            left -= len(chunk)
            yield chunk
