"""Pages of mirror and union channels as bytes, from upstream's rows: every key survives, known or not.

Pure. Keys of ours begin with an underscore: `_upstream`, `_gone-upstream`, `_origin`. Source: as for
`buildfarm.index.render`.
"""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from packaging.version import Version

from buildfarm import clock
from buildfarm.index import render
from buildfarm.index.guarded import Reading
from buildfarm.mirror.model import Supplement, UpstreamFile
from buildfarm.mirror.page import MirrorFile, MirrorPage


@dataclass(frozen=True)
class Line:
    """A file as such a page lists it; `yanked` as in JSON."""

    filename: str
    version: Version | None
    sha256: str | None
    size: int | None
    upload_time: str | None
    requires_python: str | None
    metadata_sha256: str | None
    has_provenance: bool
    yanked: bool | str = False
    other: Mapping[str, Any] = field(default_factory=dict)


def line_of(page: MirrorPage, file: MirrorFile, held: UpstreamFile | None) -> Line:
    """A file of upstream's; what is known of one that is `held` fills what upstream does not say."""
    other = dict(file.other)
    if file.gone_since:
        other["_gone-upstream"] = file.gone_since
    return Line(
        filename=file.filename,
        version=Reading(page.name, file, page.fetched_at).version,
        sha256=file.sha256 or (held.sha256 if held else None),
        size=file.size if file.size is not None or held is None else held.size,
        upload_time=file.upload_time,
        requires_python=file.requires_python,
        metadata_sha256=file.metadata_sha256 or (held.metadata_sha256 if held else None),
        has_provenance=file.provenance_url is not None,
        # An empty reason is not allowed in JSON (PEP 592); the plain mark stands for it.
        yanked=True if file.yanked == "" else file.yanked,
        other=other,
    )


def line_of_supplement(supplement: Supplement) -> Line:
    """A wheel that was built here for an upstream project."""
    return Line(
        filename=supplement.filename,
        version=Version(supplement.version),
        sha256=supplement.sha256,
        size=supplement.size,
        upload_time=clock.iso(supplement.uploaded_at),
        requires_python=supplement.requires_python,
        metadata_sha256=supplement.metadata_sha256,
        has_provenance=supplement.provenance_sha256 is not None,
        other={"_origin": "supplement"},
    )


def project_json(page: MirrorPage, lines: Iterable[Line], *, provenance_root: str, namespaces: bool) -> bytes:
    """The project page as JSON, without its serial (`with_serial`).

    A namespace holds in one index alone (PEP 752): upstream's are none of ours, and a name that one of
    ours covers is never asked upstream. `namespaces`: whether pages tell that.
    """
    ordered = _ordered(lines)
    status = {"status": page.content.status}
    if page.content.status_reason:
        status["reason"] = page.content.status_reason
    document = {
        **{key: value for key, value in page.content.other.items() if key != "namespaces"},
        "name": page.name,
        **({"namespaces": None} if namespaces else {}),
        "project-status": status,
        "versions": [str(one) for one in sorted({line.version for line in ordered if line.version})],
        "files": [_entry(page.name, line, provenance_root) for line in ordered],
        "_upstream": page.upstream,
    }
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()


def with_serial(body: bytes, serial: int, *, namespaces: bool) -> bytes:
    """The page of `project_json` with its version and serial."""
    meta = json.dumps({"meta": render.meta(serial, namespaces=namespaces)})
    return meta[:-1].encode() + b"," + body[1:]


def project_html(page: MirrorPage, lines: Iterable[Line], *, provenance_root: str) -> bytes:
    """The project page as HTML."""
    anchors = [_anchor(page.name, line, provenance_root) for line in _ordered(lines)]
    return render.html_page(
        f"Links for {page.name}", anchors, status=page.content.status, reason=page.content.status_reason
    )


def _entry(name: str, line: Line, provenance_root: str) -> dict[str, Any]:
    metadata = render.core_metadata(line.filename, line.metadata_sha256)
    entry: dict[str, Any] = {
        **line.other,
        "filename": line.filename,
        "url": _href(name, line),
        "hashes": {"sha256": line.sha256} if line.sha256 else {},
        "yanked": line.yanked,
        "core-metadata": metadata,
        "data-dist-info-metadata": metadata,
        "provenance": f"{provenance_root}/{quote(line.filename)}.provenance" if line.has_provenance else None,
    }
    optional = {
        "size": line.size,
        "upload-time": line.upload_time,
        "requires-python": line.requires_python,
    }
    return entry | {key: value for key, value in optional.items() if value is not None}


def _anchor(name: str, line: Line, provenance_root: str) -> str:
    fragment = f"#sha256={line.sha256}" if line.sha256 else ""
    attributes = [f'href="{_href(name, line)}{fragment}"']
    if line.requires_python:
        attributes.append(f'data-requires-python="{html.escape(line.requires_python)}"')
    if line.yanked:
        reason = line.yanked if isinstance(line.yanked, str) else ""
        attributes.append(f'data-yanked="{html.escape(reason)}"')
    if render.core_metadata(line.filename, line.metadata_sha256):
        attributes.append(f'data-dist-info-metadata="sha256={line.metadata_sha256}"')
        attributes.append(f'data-core-metadata="sha256={line.metadata_sha256}"')
    if line.has_provenance:
        url = f"{provenance_root}/{quote(line.filename)}.provenance"
        attributes.append(f'data-provenance="{html.escape(url)}"')
    return f"<a {' '.join(attributes)}>{html.escape(line.filename)}</a><br>"


def _ordered(lines: Iterable[Line]) -> Sequence[Line]:
    nothing = Version("0.dev0")
    return sorted(lines, key=lambda line: (line.version or nothing, line.filename))


def _href(name: str, line: Line) -> str:
    return f"../../files/{name}/{quote(line.filename)}"
