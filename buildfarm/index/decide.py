"""The one decision: path, verdict, conditions and ranges in, an answer out.

Pure but for the page tree, of which it asks what a file's size and time are. Every server of the index,
whatever its shape, answers what this says. Source: PEP 503, 658, 691, 714, 740, 752; RFC 9110.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Protocol
from urllib.parse import parse_qs, unquote

from packaging.utils import canonicalize_name

from buildfarm.index.conditions import Form, byte_range, coding, form_named, matches, negotiate
from buildfarm.index.pagetree import ON_DEMAND, ROOT, Stored
from buildfarm.sources.names import STAGE_PREFIX

PAGE_CACHE = "max-age=0, must-revalidate"
FILE_CACHE = "max-age=31536000, immutable"
#: A normalised project name (PEP 503) that fits into a file name.
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,198}[a-z0-9])?", re.ASCII)
#: A channel, or a pin of one.
_CHANNEL = re.compile(r"[a-z][a-z0-9-]{0,63}(?:@[A-Za-z0-9._-]{1,64})?", re.ASCII)
#: A file name or a version; none of ours begins with a dot.
_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+!-]{0,254}", re.ASCII)
_SIDES = {
    ".provenance": "application/vnd.pypi.integrity.v1+json",
    ".sigstore.json": "application/vnd.dev.sigstore.bundle.v0.3+json",
    ".reproduced.jsonl": "application/jsonl",
}
_JSON, _XML = "application/json", "text/xml; charset=utf-8"


class Verdict(StrEnum):
    """What the access side said about this reader and this channel."""

    ALLOW = "allow"
    PUBLIC = "public"
    UNKNOWN = "unknown"
    FORBIDDEN = "forbidden"


class Pages(Protocol):
    """Where pages come from."""

    def find(self, path: str) -> Stored | None:
        """The file at a path of the tree, or None."""


@dataclass(frozen=True)
class Ask:
    """A request below `/<channel>/`; `path` is still percent-encoded, header names are lower case."""

    method: str
    channel: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    query: str = ""


@dataclass(frozen=True)
class Answer:
    """What to send: `body`, or `length` bytes of `file` from `start`; a HEAD carries the headers of its GET.

    `inflate`: `file` is to be unzipped first, whole; the headers lack its Content-Length.
    `ask_web`: the tree does not have it, but web may (the answer is for where there is no web to ask).
    """

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    file: Stored | None = None
    start: int = 0
    length: int = 0
    inflate: bool = False
    ask_web: bool = False


def decide(ask: Ask, verdict: Verdict, pages: Pages) -> Answer:
    """The answer to a request for a page or a file of a channel."""
    if verdict is Verdict.UNKNOWN:
        realm = 'Basic realm="buildfarm", charset="UTF-8"'
        return _text(401, "Credentials are needed to read this channel.", ("WWW-Authenticate", realm))
    if verdict is Verdict.FORBIDDEN:
        return _text(403, f"These credentials may not read the channel {ask.channel}.")
    if not _CHANNEL.fullmatch(ask.channel):
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
            return _moved_to_name(ask, pages, name, "", "/")
        case ["simple", name, ""]:
            if _NAME.fullmatch(name):
                return _page(ask, pages, name, private)
            return _moved_to_name(ask, pages, name, "../", "/")
        case ["files", name, filename] if _NAME.fullmatch(name):
            return _file(ask, pages, name, unquote(filename), private)
        case ["pypi", name, *version, "json"] if len(version) < 2 and all(map(_PART.fullmatch, version)):
            rest = "/".join([*version, "json"])
            if _NAME.fullmatch(name):
                return _document(ask, pages, f"pypi/{name}/{rest}", _JSON, private)
            return _moved_to_name(ask, pages, name, "../" * (len(version) + 1), f"/{rest}")
        case ["namespaces"]:
            return _document(ask, pages, "namespaces", _JSON, private)
        case ["namespace", name] if _NAME.fullmatch(name):
            return _document(ask, pages, f"namespace/{name}", _JSON, private)
        case ["rss", ("updates.xml" | "packages.xml") as feed]:
            return _document(ask, pages, f"rss/{feed}", _XML, private)
        case ["rss", "project", name, "releases.xml"] if _NAME.fullmatch(name):
            return _document(ask, pages, f"rss/project/{name}.xml", _XML, private)
    return _unknown()


def _page(ask: Ask, pages: Pages, name: str, private: str) -> Answer:
    wanted = parse_qs(ask.query).get("format") if "format" in ask.query else None
    form = form_named(wanted[0]) if wanted else negotiate(ask.headers.get("accept"))
    if form is None:
        return _text(406, "This index speaks JSON (PEP 691) and HTML (PEP 503).", ("Vary", "Accept"))
    offers = ("zstd", "gzip") if form is Form.JSON else ("gzip",)
    path = f"{ask.channel}/simple/{name}.{'json' if form is Form.JSON else 'html'}"
    content_type = form.value if form is not Form.HTML else "text/html; charset=utf-8"
    # Same bytes under another type are another representation, so another validator.
    mark = "v" if form is Form.VENDOR_HTML else ""
    return _encoded(ask, pages, path, offers, content_type, ("Accept, Accept-Encoding", mark, private))


def _document(ask: Ask, pages: Pages, path: str, content_type: str, private: str) -> Answer:
    vary = ("Accept-Encoding", "", private)
    return _encoded(ask, pages, f"{ask.channel}/{path}", ("gzip",), content_type, vary)


def _encoded(
    ask: Ask, pages: Pages, path: str, offers: tuple[str, ...], content_type: str, shown: tuple[str, str, str]
) -> Answer:
    vary, mark, private = shown
    chosen = coding(ask.headers.get("accept-encoding"), offers)
    if chosen is None:
        return _text(406, "This index sends pages as they are, or in gzip.", ("Vary", vary))
    file = pages.find(f"{path}.{'zst' if chosen == 'zstd' else 'gz'}")
    if file is None:
        return _missing(ask, pages)
    inflate = chosen == "identity"
    etag = f'"{file.validator}{mark}{"i" if inflate else ""}"'
    headers = [
        ("ETag", etag),
        ("Vary", vary),
        ("Cache-Control", PAGE_CACHE + private),
        ("X-PyPI-Last-Serial", str(file.serial)),
    ]
    if matches(ask.headers.get("if-none-match"), etag):
        return Answer(304, tuple(headers))
    headers += [("Content-Type", content_type), ("Content-Security-Policy", "default-src 'none'")]
    if not inflate:
        headers += [("Content-Length", str(file.size)), ("Content-Encoding", chosen)]
    return Answer(200, tuple(headers), file=file, length=file.size, inflate=inflate)


def _file(ask: Ask, pages: Pages, name: str, filename: str, private: str) -> Answer:
    file = pages.find(f"{ask.channel}/files/{name}/{filename}") if _PART.fullmatch(filename) else None
    if file is None:
        return _missing(ask, pages)
    # In a stage a later commit may give other bytes to the name.
    cache = PAGE_CACHE if ask.channel.startswith(STAGE_PREFIX) else FILE_CACHE
    content_type = "application/octet-stream"
    for suffix, side_type in _SIDES.items():
        if filename.endswith(suffix):
            content_type, cache = side_type, PAGE_CACHE
    if filename.endswith(".tar.gz"):
        content_type = "application/gzip"
    etag = f'"{file.validator}"'
    headers = [("ETag", etag), ("Accept-Ranges", "bytes"), ("Cache-Control", cache + private)]
    if matches(ask.headers.get("if-none-match"), etag):
        return Answer(304, tuple(headers))
    headers.append(("Content-Type", content_type))
    # RFC 9110 section 14.2: ranges are defined for GET alone.
    asked = ask.headers.get("range") if ask.method == "GET" else None
    if asked and ask.headers.get("if-range", etag) != etag:
        asked = None
    part = byte_range(asked, file.size)
    if part == "unsatisfiable":
        return _text(416, "No byte of that range is in the file.", ("Content-Range", f"bytes */{file.size}"))
    start, length = part if isinstance(part, tuple) else (0, file.size)
    headers.append(("Content-Length", str(length)))
    if part is not None:
        headers.append(("Content-Range", f"bytes {start}-{start + length - 1}/{file.size}"))
    return Answer(206 if part is not None else 200, tuple(headers), file=file, start=start, length=length)


def _moved_to_name(ask: Ask, pages: Pages, name: str, before: str, after: str) -> Answer:
    """To the one spelling of an encoded project name, where there is such a project."""
    normal = canonicalize_name(unquote(name))
    if not _NAME.fullmatch(normal):
        return _unknown()
    if pages.find(f"{ask.channel}/simple/{normal}.json.gz") or _is_on_demand(ask, pages):
        return _moved(before + normal + after, ask.query)
    return _unknown()


def _moved(where: str, query: str) -> Answer:
    location = where + (f"?{query}" if query else "")
    return Answer(301, (("Location", location), ("Cache-Control", PAGE_CACHE), ("Content-Length", "0")))


def _is_on_demand(ask: Ask, pages: Pages) -> bool:
    return pages.find(f"{ask.channel}/{ON_DEMAND}") is not None


def _missing(ask: Ask, pages: Pages) -> Answer:
    return replace(_unknown(), ask_web=_is_on_demand(ask, pages))


def _unknown() -> Answer:
    return _text(404, "Not found in this channel.")


def _text(status: int, sentence: str, *headers: tuple[str, str]) -> Answer:
    body = (sentence + "\n").encode()
    common = (("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body))))
    return Answer(status, (*common, ("Cache-Control", "no-cache"), *headers), body)
