"""Sending an `Answer`: bytes, or a slice of a blob by the server's own `sendfile` where it has one."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from flask import Response, request

from buildfarm.index.decide import Answer
from webapp.context import farm

_CHUNK = 1 << 18


def send(answer: Answer) -> Response:
    """The answer as a response; a HEAD carries the headers of its GET."""
    # Never plain bytes: for them Flask would write a Content-Length of its own, wrong for HEAD and 304.
    body: Iterable[bytes] = [answer.body]
    if request.method == "HEAD" or answer.status == 304:
        body = []
    elif answer.blob:
        body = _file_body(answer)
    response = Response(body, status=answer.status, headers=list(answer.headers))
    response.automatically_set_content_length = False
    # Wrapped by nothing, so that the server sees its own file wrapper and sends with sendfile.
    response.direct_passthrough = not isinstance(body, list)
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
