"""Upstream project pages, parsed: JSON as it should be, HTML where an index speaks nothing else.

Nothing of an upstream page is passed on as text: rows are read from it, ours are rendered from rows.
Source: PEP 503, 592, 658, 691, 700.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import Any
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

from buildfarm.errors import ExternalFailure

ACCEPT = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html; q=0.2, text/html; q=0.1"

#: Plain ASCII as wheels and sdists of every age have it; never a path.
_FILENAME = re.compile(r"[A-Za-z0-9][!-.0-\[\]-~]{0,254}", re.ASCII)


@dataclass(frozen=True)
class UpstreamRow:
    """One file that an upstream page lists; `sha256` may be missing on old HTML pages."""

    filename: str
    url: str
    sha256: str | None
    size: int | None
    upload_time: str | None
    requires_python: str | None
    metadata_sha256: str | None
    yanked: bool | str


def parse(body: bytes, content_type: str, base: str) -> dict[str, UpstreamRow]:
    """The rows of a page by file name; rows that cannot be understood are left out.

    Raises:
        ExternalFailure: `mirror.page_unreadable`.
    """
    try:
        if "json" in content_type:
            found = [_from_entry(entry, base) for entry in json.loads(body)["files"]]
        else:
            anchors = _Anchors()
            anchors.feed(body.decode())
            found = [_from_anchor(attributes, base) for attributes in anchors.found]
    except (ValueError, TypeError, KeyError, RecursionError) as err:
        raise ExternalFailure(
            "The upstream index sent a page that cannot be read.", code="mirror.page_unreadable"
        ) from err
    return {row.filename: row for row in found if row is not None}


def _from_entry(entry: Any, base: str) -> UpstreamRow | None:  # noqa: ANN401 - whatever the page says
    match entry:
        case {"filename": str(filename), "url": str(href)}:
            url = _url(base, href)
        case _:
            return None
    if url is None or not _FILENAME.fullmatch(filename):
        return None
    hashes, size, yanked = entry.get("hashes"), entry.get("size"), entry.get("yanked", False)
    metadata = entry.get(
        "core-metadata", entry.get("dist-info-metadata", entry.get("data-dist-info-metadata"))
    )
    return UpstreamRow(
        filename=filename,
        url=url,
        sha256=_digest(hashes.get("sha256")) if isinstance(hashes, dict) else None,
        size=size if type(size) is int and size >= 0 else None,
        upload_time=_text(entry.get("upload-time")),
        requires_python=_text(entry.get("requires-python")),
        metadata_sha256=_digest(metadata.get("sha256")) if isinstance(metadata, dict) else None,
        yanked=yanked if isinstance(yanked, bool | str) else True,
    )


def _from_anchor(attributes: dict[str, str | None], base: str) -> UpstreamRow | None:
    whole = _url(base, attributes.get("href") or "")
    if whole is None:
        return None
    url, fragment = urldefrag(whole)
    filename = unquote(urlsplit(url).path.rsplit("/", 1)[-1])
    if not _FILENAME.fullmatch(filename):
        return None
    metadata = attributes.get("data-core-metadata") or attributes.get("data-dist-info-metadata") or ""
    return UpstreamRow(
        filename=filename,
        url=url,
        sha256=_digest(fragment.removeprefix("sha256=")),
        size=None,
        upload_time=None,
        requires_python=attributes.get("data-requires-python"),
        metadata_sha256=_digest(metadata.removeprefix("sha256=")),
        yanked=(attributes["data-yanked"] or True) if "data-yanked" in attributes else False,
    )


def _url(base: str, href: str) -> str | None:
    try:
        url = urljoin(base, href)
        return url if urlsplit(url).scheme in {"http", "https"} else None
    except ValueError:
        return None


def _text(value: Any) -> str | None:  # noqa: ANN401
    return value if isinstance(value, str) else None


def _digest(value: Any) -> str | None:  # noqa: ANN401
    good = isinstance(value, str) and len(value) == 64 and set(value) <= set("0123456789abcdef")
    return value if good else None


class _Anchors(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[dict[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self.found.append(dict(attrs))
