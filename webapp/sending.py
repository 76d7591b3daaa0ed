"""Sending an `Answer`: bytes, or a slice of a file by the server's own `sendfile` where it has one."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from flask import Response, request

from buildfarm.errors import ExternalFailure
from buildfarm.index.conditions import Form, byte_range
from buildfarm.index.decide import Answer
from buildfarm.index.pagetree import Stored

_CHUNK = 1 << 18
_GZIP = 31
_TRIES = 10
_REVALIDATED = {"Cache-Control": "max-age=0, must-revalidate"}


def send(decision: Callable[[], Answer]) -> Response:
    """What the decision says, as a response; a HEAD carries the headers of its GET.

    The decision is asked again when its file was replaced before it could be opened.

    Raises:
        ExternalFailure: `pages.restless`, it was replaced each time.
    """
    for _ in range(_TRIES):
        answer = decision()
        if answer.file is None:
            return respond(answer, [answer.body])
        if (source := _open(answer.file)) is not None:
            return _with_file(answer, source)
    raise ExternalFailure("The page changes faster than it can be read.", code="pages.restless")


def send_page(body: bytes) -> Response:
    """A project page for a build, which asks for it anew each time."""
    return Response(body, content_type=Form.JSON.value, headers=_REVALIDATED)


def send_text(body: str) -> Response:
    """A registry's text for a build, which asks for it anew each time."""
    return Response(body, content_type="text/plain; charset=utf-8", headers=_REVALIDATED)


def send_blob(path: Path) -> Response:
    """The bytes of a blob, whatever they are, or the one range of them that is asked for."""
    blob = Stored.of(str(path), path.stat())
    part = byte_range(request.headers.get("Range") if request.method == "GET" else None, blob.size)
    if part == "unsatisfiable":
        return send(lambda: Answer(416, (("Content-Range", f"bytes */{blob.size}"), ("Content-Length", "0"))))
    start, length = part if isinstance(part, tuple) else (0, blob.size)
    headers = [("Content-Type", "application/octet-stream"), ("Content-Length", str(length))]
    if part is not None:
        headers.append(("Content-Range", f"bytes {start}-{start + length - 1}/{blob.size}"))
    answer = Answer(206 if part else 200, tuple(headers), file=blob, start=start, length=length)
    return send(lambda: answer)


def _with_file(answer: Answer, source: BinaryIO) -> Response:
    if answer.inflate:
        with source:
            body = zlib.decompress(source.read(), _GZIP)
        response = respond(answer, [body])
        response.headers["Content-Length"] = str(len(body))
        return response
    if request.method == "HEAD":
        source.close()
        return respond(answer, [])
    return respond(answer, _file_body(answer, source))


def respond(answer: Answer, body: Iterable[bytes]) -> Response:
    """The answer's status and headers with a body of the caller's."""
    # Never plain bytes: for them Flask would write a Content-Length of its own, wrong for HEAD and 304.
    if request.method == "HEAD" or answer.status == 304:
        body = []
    response = Response(body, status=answer.status, headers=list(answer.headers))
    response.automatically_set_content_length = False
    # Wrapped by nothing, so that the server sees its own file wrapper and sends with sendfile.
    response.direct_passthrough = not isinstance(body, list)
    if answer.status == 304:
        del response.headers["Content-Type"]
    return response


def _open(file: Stored) -> BinaryIO | None:
    """The file, when it is still the one that was decided about."""
    try:
        source = Path(file.path).open("rb")  # noqa: SIM115 - whoever sends it closes it
    except FileNotFoundError:
        return None
    if Stored.of(file.path, os.fstat(source.fileno())) == file:
        return source
    source.close()
    return None


def _file_body(answer: Answer, source: BinaryIO) -> Iterable[bytes]:
    source.seek(answer.start)
    wrapper = request.environ.get("wsgi.file_wrapper")
    if wrapper and answer.file and answer.start + answer.length == answer.file.size:
        return wrapper(source, _CHUNK)  # type: ignore[no-any-return] # gunicorn sends it with sendfile
    return _slices(source, answer.length)


def _slices(source: BinaryIO, left: int) -> Iterator[bytes]:
    with source:
        while left > 0 and (chunk := source.read(min(_CHUNK, left))):
            left -= len(chunk)
            yield chunk
