"""What the page tree of a mirror or union channel does not have: made now, or streamed while it comes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import IO
from urllib.parse import unquote

from flask import Response

from buildfarm import log
from buildfarm.errors import FarmError
from buildfarm.index.decide import Ask, Verdict, decide
from buildfarm.index.mirrored import Mirrored
from buildfarm.index.pagetree import Stored
from buildfarm.mirror.files import Growing
from buildfarm.storage.blobs import moment_of
from webapp.sending import respond, send

_log = log.get(__name__)


@dataclass(frozen=True)
class _OneFile:
    """A page tree in which every path is one file that is not there yet."""

    file: Stored

    def find(self, path: str) -> Stored | None:
        """The file."""
        return self.file


def fill(mirrored: Mirrored, ask: Ask, verdict: Verdict) -> Response | bool:
    """Put into the tree what is asked for, or answer from a file while it comes; False: there is no such.

    Raises:
        FarmError: why it cannot be had.
    """
    match ask.path.split("/"):
        case ["simple", ""]:
            mirrored.root(ask.channel)
            return True
        case ["simple", name, ""]:
            return mirrored.page(ask.channel, name)
        case ["files", name, filename]:
            return _file(mirrored, ask, verdict, name, unquote(filename))
    return False


def _file(mirrored: Mirrored, ask: Ask, verdict: Verdict, name: str, filename: str) -> Response | bool:
    file = mirrored.file(ask.channel, name, filename)
    if file is None:
        return True
    if file.sha256 and file.size is not None:
        coming = Stored("", file.size, moment_of(file.sha256))
        answer = decide(ask, verdict, _OneFile(coming))
        if ask.method == "HEAD" or answer.file is None:
            return send(lambda: replace(answer, file=None))
        if answer.status == 200:
            growing = mirrored.fetch(name, file)
            if source := growing.begin():
                return respond(answer, _chunks(growing, source, filename))
    mirrored.fetch(name, file).whole()
    mirrored.file(ask.channel, name, filename)
    return True


def _chunks(growing: Growing, source: IO[bytes], filename: str) -> Iterator[bytes]:
    try:
        yield from growing.chunks(source)
    except FarmError as err:
        # The server cuts the connection before the last byte: the client must see that this is no file.
        _log.error("mirror.cut_off", filename=filename, code=err.code, reason=err.message)
        raise
