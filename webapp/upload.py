"""`POST /<channel>/legacy/`: the upload API that twine, uv, flit and poetry speak.

The body is read once, in pieces: the file goes to disk and is hashed on the way, the text fields are
kept within a budget. Who may not upload learns it before a byte of the body is read.
Source: warehouse's upload API; RFC 7578 (multipart/form-data).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import IO

from flask import Blueprint, Response, request
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.http import parse_options_header
from werkzeug.sansio.multipart import Data, Epilogue, Field, File, MultipartDecoder, NeedData

from buildfarm import log
from buildfarm.access import rules
from buildfarm.errors import InvalidInput, LimitExceeded
from buildfarm.index import channels
from buildfarm.index.upload import Form
from buildfarm.storage.blobs import Incoming
from webapp.context import farm, header_principal

blueprint = Blueprint("upload", __name__)
_CHUNK = 64 * 1024
#: Everything of a form but its file: descriptions are long, attestations longer.
_TEXT_BYTES = 8 * 2**20
_PARTS = 500


@blueprint.post("/<channel>/legacy")
@blueprint.post("/<channel>/legacy/")
def upload(channel: str) -> Response:
    """Take one file; when the answer is sent, the file is on the channel's pages."""
    # A browser's session is no credential here: forms of foreign pages can post to this URL.
    principal = header_principal()
    rules.require(principal, "upload", channel)
    with farm().database.read() as session:
        channels.get(session, channel)
    limit = farm().settings.limits.upload_bytes
    length = request.content_length or 0
    if length > limit + _TEXT_BYTES:
        raise _too_large(limit)
    farm().blobs.demand_room(length)
    request.max_content_length = limit + _TEXT_BYTES
    with farm().blobs.incoming(max_bytes=limit) as content:
        filename, fields = _read_form(request.stream, _boundary(), content)
        taken = farm().uploader.take(channel, principal, Form(fields), filename, content)
    log.get(__name__).info("upload.taken", channel=channel, filename=filename, **vars(taken))
    if taken.serial is not None:
        farm().visibility.wait(taken.serial)
    alike = ", ".join(taken.looks_like)
    note = f"Mind: this project's name looks like {alike}.\n" if alike else ""
    return Response(note, status=200, content_type="text/plain; charset=utf-8")


def _boundary() -> bytes:
    kind, options = parse_options_header(request.headers.get("Content-Type"))
    boundary = options.get("boundary", "")
    if kind != "multipart/form-data" or not boundary.isascii() or not 0 < len(boundary) <= 200:
        raise _malformed("it is not multipart/form-data with a boundary")
    return boundary.encode()


@dataclass
class _Part:
    name: str
    text: bytearray
    is_file: bool


def _read_form(stream: IO[bytes], boundary: bytes, content: Incoming) -> tuple[str, dict[str, str]]:
    """The file's name and the text fields; the file's bytes go to `content`, other files nowhere."""
    decoder = MultipartDecoder(boundary, max_form_memory_size=_TEXT_BYTES, max_parts=_PARTS)
    fields: dict[str, str] = {}
    filename: str | None = None
    part = _Part("", bytearray(), is_file=False)
    budget = _TEXT_BYTES
    try:
        while True:
            event = decoder.next_event()
            match event:
                case NeedData():
                    decoder.receive_data(stream.read(_CHUNK) or None)
                case File() if event.name == "content":
                    if filename is not None:
                        raise _malformed("it holds more than one file")
                    filename, part = event.filename, _Part("content", bytearray(), is_file=True)
                case Field() | File():
                    # Signatures of the PGP age come as files and are dropped.
                    part = _Part(str(event.name), bytearray(), is_file=False)
                case Data() if part.is_file:
                    content.write(event.data)
                case Data():
                    budget -= len(event.data)
                    if budget < 0:
                        raise LimitExceeded("The form has too much text.", code="upload.text")
                    part.text += event.data
                    if not event.more_data:
                        fields.setdefault(part.name, part.text.decode("utf-8", "replace"))
                case Epilogue():
                    break
    except ValueError as err:
        raise _malformed("its parts cannot be told apart") from err
    except RequestEntityTooLarge as err:
        raise _too_large(farm().settings.limits.upload_bytes) from err
    if filename is None:
        raise _malformed("it holds no file `content`")
    return filename, fields


def _malformed(problem: str) -> InvalidInput:
    return InvalidInput(f"The upload form cannot be read: {problem}.", code="upload.form")


def _too_large(limit: int) -> LimitExceeded:
    return LimitExceeded(
        f"A file of this index may have {limit} bytes.", code="file.f-05", hint="limits.upload_bytes sets it."
    )
