"""Index pages as bytes, from facts: Simple API JSON 1.4 and the HTML that is frozen at 1.4.

Pure and deterministic: equal facts give equal bytes, so a page's ETag is the digest of its content.
Source: PEP 503, 592, 629, 658, 691, 700, 714, 740, 792, 833; living specification "Simple repository API".
"""

from __future__ import annotations

import gzip
import html
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote

import zstandard
from packaging.version import Version

from buildfarm import clock

API_VERSION = "1.4"


@dataclass(frozen=True)
class PageFile:
    """A file as its project's page lists it; `yanked` is the reason, None when it is not."""

    filename: str
    version: str
    sha256: str
    size: int
    uploaded_at: datetime
    requires_python: str | None
    metadata_sha256: str | None
    bundle_sha256: str | None
    provenance_sha256: str | None
    yanked: str | None


def project_json(name: str, files: Sequence[PageFile], *, provenance_root: str, serial: int) -> bytes:
    """The project page as JSON; `provenance_root` is the absolute URL of the project's files folder."""
    ordered = _ordered(files)
    return _json(
        {
            "meta": {"api-version": API_VERSION, "_last-serial": serial},
            "name": name,
            "project-status": {"status": "active"},
            "versions": sorted({file.version for file in ordered}, key=Version),
            "files": [_file_entry(name, file, provenance_root) for file in ordered],
        }
    )


def project_html(name: str, files: Sequence[PageFile], *, provenance_root: str) -> bytes:
    """The project page as HTML: one anchor per line, which third parties parse."""
    lines = []
    for file in _ordered(files):
        attributes = [f'href="{_href(name, file.filename)}#sha256={file.sha256}"']
        if file.requires_python:
            attributes.append(f'data-requires-python="{html.escape(file.requires_python)}"')
        if file.yanked is not None:
            attributes.append(f'data-yanked="{html.escape(file.yanked)}"')
        if core_metadata(file.filename, file.metadata_sha256):
            attributes.append(f'data-dist-info-metadata="sha256={file.metadata_sha256}"')
            attributes.append(f'data-core-metadata="sha256={file.metadata_sha256}"')
        if file.provenance_sha256:
            attributes.append(f'data-provenance="{html.escape(_provenance(provenance_root, file))}"')
        lines.append(f"<a {' '.join(attributes)}>{html.escape(file.filename)}</a><br>")
    return html_page(f"Links for {name}", lines, status="active")


def root_json(names: Sequence[str], *, serial: int) -> bytes:
    """The list of projects as JSON."""
    projects = [{"name": name} for name in sorted(names)]
    return _json({"meta": {"api-version": API_VERSION, "_last-serial": serial}, "projects": projects})


def root_html(names: Sequence[str]) -> bytes:
    """The list of projects as HTML."""
    return html_page(
        "Simple index", [f'<a href="{quote(name)}/">{html.escape(name)}</a><br>' for name in sorted(names)]
    )


def compressed(json_body: bytes, html_body: bytes) -> dict[str, bytes]:
    """Every stored form of a page (`pagetree.FORMS`), the same for the same bytes."""
    return {
        "json.gz": gzip.compress(json_body, 6, mtime=0),
        "json.zst": zstandard.compress(json_body, 1),
        "html.gz": gzip.compress(html_body, 6, mtime=0),
    }


def core_metadata(filename: str, sha256: str | None) -> dict[str, str] | bool:
    """What a page says of the metadata beside a file: clients trust a wheel's, so only that is shown."""
    return {"sha256": sha256} if sha256 and filename.endswith(".whl") else False


def _file_entry(name: str, file: PageFile, provenance_root: str) -> dict[str, Any]:
    metadata = core_metadata(file.filename, file.metadata_sha256)
    entry: dict[str, Any] = {
        "filename": file.filename,
        "url": _href(name, file.filename),
        "hashes": {"sha256": file.sha256},
        "size": file.size,
        "upload-time": clock.iso(file.uploaded_at),
        # PEP 592: an empty reason is not allowed in JSON; the plain mark stands for it.
        "yanked": file.yanked or file.yanked is not None,
        "core-metadata": metadata,
        # PEP 714: pip 22.3 to 23.0 (Debian 12 has it) breaks on `dist-info-metadata` with a digest.
        "data-dist-info-metadata": metadata,
        "provenance": _provenance(provenance_root, file) if file.provenance_sha256 else None,
    }
    if file.requires_python:
        entry["requires-python"] = file.requires_python
    return entry


def _ordered(files: Sequence[PageFile]) -> list[PageFile]:
    return sorted(files, key=lambda file: (Version(file.version), file.filename))


def _href(name: str, filename: str) -> str:
    return f"../../files/{name}/{quote(filename)}"


def _provenance(root: str, file: PageFile) -> str:
    return f"{root}/{quote(file.filename)}.provenance"


def _json(value: Any) -> bytes:  # noqa: ANN401
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def html_page(
    title: str, lines: Sequence[str], *, status: str | None = None, reason: str | None = None
) -> bytes:
    """A page of one line per link, with the project's status where it has one (PEP 792)."""
    meta = f'<meta name="pypi:repository-version" content="{API_VERSION}">'
    if status:
        meta += f'\n<meta name="pypi:project-status" content="{status}">'
    if reason:
        meta += f'\n<meta name="pypi:project-status-reason" content="{html.escape(reason)}">'
    head = f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n{meta}'
    head += f"\n<title>{html.escape(title)}</title>"
    body = "\n".join(lines)
    return f"{head}\n</head>\n<body>\n<h1>{html.escape(title)}</h1>\n{body}\n</body>\n</html>\n".encode()
