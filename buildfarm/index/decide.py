"""The one decision: path, verdict, conditions and ranges in, an answer out.

Pure but for the page table it is handed. Every server of the index, whatever its shape, answers what
this says. Source: PEP 503, 658, 691, 714, 740; RFC 9110.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol
from urllib.parse import unquote

from packaging.utils import canonicalize_name

from buildfarm.index.conditions import Form, accepts_gzip, byte_range, form_named, matches, negotiate
from buildfarm.index.pagetree import ROOT

PAGE_CACHE = "max-age=0, must-revalidate"
FILE_CACHE = "max-age=31536000, immutable"
#: A normalised project name (PEP 503) that fits into a file name.
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,198}[a-z0-9])?", re.ASCII)
_SIDES = {
    ".metadata": ("metadata", "application/octet-stream"),
    ".provenance": ("provenance", "application/vnd.pypi.integrity.v1+json"),
    ".sigstore.json": ("bundle", "application/vnd.dev.sigstore.bundle.v0.3+json"),
}


class Verdict(StrEnum):
    """What the access side said about this reader and this channel."""

    ALLOW = "allow"
    PUBLIC = "public"
    UNKNOWN = "unknown"
    FORBIDDEN = "forbidden"


class ServedPage(Protocol):
    """A page as the decision reads it."""

    @property
    def etags(self) -> Mapping[str, str]:
        """ETag by form."""

    @property
    def files(self) -> Mapping[str, Mapping[str, Any]]:
        """Facts by file name."""

    @property
    def serial(self) -> int:
        """The journal serial at which the page was rendered."""

    def body(self, form: str) -> bytes:
        """The bytes of a form."""


class Pages(Protocol):
    """Where pages come from."""

    def read(self, channel: str, name: str) -> ServedPage | None:
        """The page of a project, or None."""

    def has_channel(self, channel: str) -> bool:
        """Whether there is such a channel."""


@dataclass(frozen=True)
class Ask:
    """A request below `/<channel>/`; `path` is still percent-encoded."""

    method: str
    channel: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    query: str = ""
    wanted_form: str | None = None


@dataclass(frozen=True)
class Answer:
    """What to send: bytes, or a slice of a blob; a HEAD carries the headers of its GET."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    blob: str | None = None
    start: int = 0
    length: int = 0


def decide(ask: Ask, verdict: Verdict, pages: Pages) -> Answer:
    """The answer to a request for a page or a file of a channel."""
    if verdict is Verdict.UNKNOWN:
        realm = 'Basic realm="buildfarm", charset="UTF-8"'
        return _text(401, "Credentials are needed to read this channel.", ("WWW-Authenticate", realm))
    if verdict is Verdict.FORBIDDEN:
        return _text(403, f"These credentials may not read the channel {ask.channel}.")
    if not pages.has_channel(ask.channel):
        return _text(404, "There is no such channel.")
    if ask.method not in {"GET", "HEAD"}:
        return _text(405, "Only GET and HEAD are known here.", ("Allow", "GET, HEAD"))
    private = "" if verdict is Verdict.PUBLIC else ", private"
    match ask.path.split("/"):
        case ["simple"]:
            return _moved("simple/", ask.query)
        case ["simple", ""]:
            return _page(ask, pages, ROOT, private)
        case ["simple", name]:
            normal = _normal(name)
            return _moved(f"{normal}/", ask.query) if _known(ask, pages, normal) else _unknown()
        case ["simple", name, ""]:
            normal = _normal(name)
            if normal != name and _known(ask, pages, normal):
                return _moved(f"../{normal}/", ask.query)
            return _page(ask, pages, name, private) if normal == name else _unknown()
        case ["files", name, filename]:
            return _file(ask, pages, name, unquote(filename), private)
    return _unknown()


def _page(ask: Ask, pages: Pages, name: str, private: str) -> Answer:
    page = pages.read(ask.channel, name)
    if page is None:
        return _unknown()
    form = form_named(ask.wanted_form) if ask.wanted_form else negotiate(ask.headers.get("accept"))
    if form is None:
        return _text(406, "This index speaks JSON (PEP 691) and HTML (PEP 503).", ("Vary", "Accept"))
    stored = "index.json" if form is Form.JSON else "index.html"
    if accepts_gzip(ask.headers.get("accept-encoding")):
        stored += ".gz"
    etag = page.etags[stored]
    if form is Form.VENDOR_HTML:
        # Same bytes under another type are another representation, so another validator.
        etag = f'"v{etag[1:]}'
    headers = [
        ("ETag", etag),
        ("Vary", "Accept, Accept-Encoding"),
        ("Cache-Control", PAGE_CACHE + private),
        ("X-PyPI-Last-Serial", str(page.serial)),
    ]
    if matches(ask.headers.get("if-none-match"), etag):
        return Answer(304, tuple(headers))
    body = page.body(stored)
    content_type = form if form is not Form.HTML else "text/html; charset=utf-8"
    headers += [
        ("Content-Type", content_type),
        ("Content-Length", str(len(body))),
        ("Content-Security-Policy", "default-src 'none'"),
    ]
    if stored.endswith(".gz"):
        headers.append(("Content-Encoding", "gzip"))
    return Answer(200, tuple(headers), body)


def _file(ask: Ask, pages: Pages, name: str, filename: str, private: str) -> Answer:
    page = pages.read(ask.channel, name) if _NAME.fullmatch(name) else None
    if page is None:
        return _unknown()
    key, content_type, wanted, cache = "sha256", "", filename, FILE_CACHE
    for suffix, (side, side_type) in _SIDES.items():
        if filename.endswith(suffix):
            key, content_type, wanted = side, side_type, filename.removesuffix(suffix)
            cache = FILE_CACHE if side == "metadata" else PAGE_CACHE
    facts = page.files.get(wanted)
    if facts is None or not facts.get(key):
        return _unknown()
    size = int(facts["size"] if key == "sha256" else facts[f"{key}_size"])
    content_type = content_type or (
        "application/gzip" if wanted.endswith(".tar.gz") else "application/octet-stream"
    )
    digest = str(facts[key])
    etag = f'"{digest}"'
    headers = [("ETag", etag), ("Accept-Ranges", "bytes"), ("Cache-Control", cache + private)]
    if matches(ask.headers.get("if-none-match"), etag):
        return Answer(304, tuple(headers))
    headers.append(("Content-Type", content_type))
    # RFC 9110 section 14.2: ranges are defined for GET alone.
    asked = ask.headers.get("range") if ask.method == "GET" else None
    if asked and ask.headers.get("if-range", etag) != etag:
        asked = None
    part = byte_range(asked, size)
    if part == "unsatisfiable":
        return _text(416, "No byte of that range is in the file.", ("Content-Range", f"bytes */{size}"))
    start, length = part if isinstance(part, tuple) else (0, size)
    headers.append(("Content-Length", str(length)))
    if part is not None:
        headers.append(("Content-Range", f"bytes {start}-{start + length - 1}/{size}"))
    return Answer(206 if part is not None else 200, tuple(headers), blob=digest, start=start, length=length)


def _normal(name: str) -> str | None:
    """The one spelling of an encoded project name; None when it can be none, which no table is asked for."""
    normal = canonicalize_name(unquote(name))
    return normal if _NAME.fullmatch(normal) else None


def _known(ask: Ask, pages: Pages, normal: str | None) -> bool:
    return normal is not None and pages.read(ask.channel, normal) is not None


def _moved(where: str, query: str) -> Answer:
    location = where + (f"?{query}" if query else "")
    return Answer(301, (("Location", location), ("Cache-Control", PAGE_CACHE), ("Content-Length", "0")))


def _unknown() -> Answer:
    return _text(404, "Not found in this channel.")


def _text(status: int, sentence: str, *headers: tuple[str, str]) -> Answer:
    body = (sentence + "\n").encode()
    common = (("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body))))
    return Answer(status, (*common, ("Cache-Control", "no-cache"), *headers), body)
