"""Upstream project pages, parsed: JSON as it should be, HTML where an index speaks nothing else.

Nothing of an upstream page is passed on as text: rows are read from it, ours are rendered from rows.
Source: PEP 503, 592, 658, 691, 700.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import Any
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

from buildfarm.errors import ExternalFailure

ACCEPT = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html; q=0.2, text/html; q=0.1"


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
        rows = (
            _from_json(json.loads(body), base) if "json" in content_type else _from_html(body.decode(), base)
        )
    except (ValueError, TypeError, KeyError, AttributeError) as err:
        raise ExternalFailure(
            "The upstream index sent a page that cannot be read.", code="mirror.page_unreadable"
        ) from err
    return {
        row.filename: row
        for row in rows
        if "/" not in row.filename and row.url.startswith(("http:", "https:"))
    }


def _from_json(page: dict[str, Any], base: str) -> list[UpstreamRow]:
    rows = []
    for entry in page["files"]:
        metadata = entry.get(
            "core-metadata", entry.get("dist-info-metadata", entry.get("data-dist-info-metadata"))
        )
        rows.append(
            UpstreamRow(
                filename=entry["filename"],
                url=urljoin(base, entry["url"]),
                sha256=_digest(entry.get("hashes", {}).get("sha256")),
                size=entry.get("size"),
                upload_time=entry.get("upload-time"),
                requires_python=entry.get("requires-python"),
                metadata_sha256=_digest(metadata.get("sha256")) if isinstance(metadata, dict) else None,
                yanked=entry.get("yanked", False),
            )
        )
    return rows


def _from_html(text: str, base: str) -> list[UpstreamRow]:
    parser = _Anchors()
    parser.feed(text)
    rows = []
    for attributes in parser.found:
        url, fragment = urldefrag(urljoin(base, attributes.get("href") or ""))
        metadata = attributes.get("data-core-metadata") or attributes.get("data-dist-info-metadata") or ""
        rows.append(
            UpstreamRow(
                filename=unquote(urlsplit(url).path.rsplit("/", 1)[-1]),
                url=url,
                sha256=_digest(fragment.removeprefix("sha256=")),
                size=None,
                upload_time=None,
                requires_python=attributes.get("data-requires-python"),
                metadata_sha256=_digest(metadata.removeprefix("sha256=")),
                yanked=(attributes["data-yanked"] or True) if "data-yanked" in attributes else False,
            )
        )
    return rows


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
