"""Index pages as bytes, from facts: Simple API JSON 1.4 (or 1.5) and the HTML that is frozen at 1.4.

Pure and deterministic: equal facts give equal bytes. A page is its constant parts and a line for each
release (or project), which `runs` compresses and joins.
Source: PEP 503, 592, 629, 658, 691, 700, 714, 740, 752, 792, 833; the living "Simple repository API".
"""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from buildfarm import clock
from buildfarm.index.namespacefacts import Claim
from buildfarm.index.pagefacts import PageFile, PageProject, PageRelease
from buildfarm.index.runs import Piece, Runs, Stream, gzip_of, zstd_of

API_VERSION = "1.4"
#: The one that tells namespaces, in JSON alone.
_NAMESPACES_VERSION = "1.5"


@dataclass(frozen=True)
class Marking:
    """What stands above the files of a page: `status` and `reason` (PEP 792), the serial of its last row.

    `namespaces` (PEP 752): None where pages tell nothing of them.
    """

    serial: int
    status: str = "active"
    reason: str | None = None
    namespaces: Sequence[Claim] | None = None

    @classmethod
    def of(cls, project: PageProject) -> Marking:
        """That of a local project."""
        return cls(project.serials.project, project.status, project.reason, project.namespaces)


class ProjectRendering:
    """The Simple API pages of one project in one channel.

    `files_url` is the absolute URL of the project's files there, which provenance needs.
    """

    def __init__(self, name: str, files_url: str) -> None:
        self.name, self._files_url = name, files_url
        self._versions = Stream(_version, b",", zstd=True)
        self._files = Stream(self._file_entries, b",", zstd=True)
        self._anchors = Stream(self._anchor_lines)

    def forms(self, releases: Runs[PageRelease], marking: Marking) -> dict[str, bytes]:
        """Every stored form of the page (`pagetree.FORMS`)."""
        status = {"status": marking.status} | ({"reason": marking.reason} if marking.reason else {})
        has_namespaces = marking.namespaces is not None
        head = _json(
            {
                "meta": meta(marking.serial, namespaces=has_namespaces),
                "name": self.name,
                **({"namespaces": _claims(marking.namespaces or ())} if has_namespaces else {}),
                "project-status": status,
                "versions": [],
            }
        )[:-2]
        told = releases.pieces(head, self._versions, b'],"files":[', self._files, b"]}", zstd=True)
        title = f"Links for {self.name}"
        shown = releases.pieces(_html_head(title, marking.status, marking.reason), self._anchors, _HTML_TAIL)
        return {"json.gz": gzip_of(told), "json.zst": zstd_of(told), "html.gz": gzip_of(shown)}

    def _file_entries(self, release: PageRelease) -> bytes:
        return b",".join(_json(self._file_entry(file)) for file in release.files)

    def _file_entry(self, file: PageFile) -> dict[str, Any]:
        metadata = core_metadata(file.filename, file.metadata_sha256)
        entry: dict[str, Any] = {
            "filename": file.filename,
            "url": self._href(file),
            "hashes": {"sha256": file.sha256},
            "size": file.size,
            "upload-time": clock.iso(file.uploaded_at),
            # PEP 592: an empty reason is not allowed in JSON; the plain mark stands for it.
            "yanked": file.yanked or file.yanked is not None,
            "core-metadata": metadata,
            # PEP 714: pip 22.3 to 23.0 (Debian 12 has it) breaks on `dist-info-metadata` with a digest.
            "data-dist-info-metadata": metadata,
            "provenance": self._provenance(file) if file.provenance_sha256 else None,
        }
        if file.requires_python:
            entry["requires-python"] = file.requires_python
        return entry

    def _anchor_lines(self, release: PageRelease) -> bytes:
        """One anchor per line, which third parties parse."""
        return "".join(self._anchor(file) for file in release.files).encode()

    def _anchor(self, file: PageFile) -> str:
        attributes = [f'href="{self._href(file)}#sha256={file.sha256}"']
        if file.requires_python:
            attributes.append(f'data-requires-python="{html.escape(file.requires_python)}"')
        if file.yanked is not None:
            attributes.append(f'data-yanked="{html.escape(file.yanked)}"')
        if core_metadata(file.filename, file.metadata_sha256):
            attributes.append(f'data-dist-info-metadata="sha256={file.metadata_sha256}"')
            attributes.append(f'data-core-metadata="sha256={file.metadata_sha256}"')
        if file.provenance_sha256:
            attributes.append(f'data-provenance="{html.escape(self._provenance(file))}"')
        return f"<a {' '.join(attributes)}>{html.escape(file.filename)}</a><br>\n"

    def _href(self, file: PageFile) -> str:
        return f"../../files/{self.name}/{quote(file.filename)}"

    def _provenance(self, file: PageFile) -> str:
        return f"{self._files_url}/{quote(file.filename)}.provenance"


_NAMES: Stream[str] = Stream(lambda name: _json({"name": name}), b",", zstd=True)
_NAME_ANCHORS: Stream[str] = Stream(
    lambda name: f'<a href="{quote(name)}/">{html.escape(name)}</a><br>\n'.encode()
)


def meta(serial: int, *, namespaces: bool) -> dict[str, Any]:
    """What a JSON page says of itself; `namespaces`: whether this index tells them."""
    return {"api-version": _NAMESPACES_VERSION if namespaces else API_VERSION, "_last-serial": serial}


def root_forms(names: Runs[str], *, serial: int, namespaces: bool = False) -> dict[str, bytes]:
    """Every stored form of the list of projects."""
    head = _json({"meta": meta(serial, namespaces=namespaces), "projects": []})[:-2]
    told = names.pieces(head, _NAMES, b"]}", zstd=True)
    shown = names.pieces(_html_head("Simple index"), _NAME_ANCHORS, _HTML_TAIL)
    return {"json.gz": gzip_of(told), "json.zst": zstd_of(told), "html.gz": gzip_of(shown)}


def compressed(json_body: bytes, html_body: bytes) -> dict[str, bytes]:
    """Every stored form of a page that is made whole."""
    told = [Piece.of(json_body, zstd=True)]
    shown = [Piece.of(html_body, zstd=False)]
    return {"json.gz": gzip_of(told), "json.zst": zstd_of(told), "html.gz": gzip_of(shown)}


def html_page(title: str, lines: Sequence[str], *, status: str | None, reason: str | None) -> bytes:
    """An HTML page that is made whole: one line for each link, and the project's status if it has one."""
    return b"".join(
        [_html_head(title, status, reason), "".join(f"{line}\n" for line in lines).encode(), _HTML_TAIL]
    )


def core_metadata(filename: str, sha256: str | None) -> dict[str, str] | bool:
    """What a page says of the metadata beside a file: clients trust a wheel's, so only that is shown."""
    return {"sha256": sha256} if sha256 and filename.endswith(".whl") else False


def _claims(claims: Sequence[Claim]) -> list[dict[str, Any]] | None:
    return [{"name": claim.name, "owned": claim.owned} for claim in claims] or None


def _version(release: PageRelease) -> bytes:
    return _json(release.version)


def _json(value: Any) -> bytes:  # noqa: ANN401
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def _html_head(title: str, status: str | None = None, reason: str | None = None) -> bytes:
    lines = [
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
        f'<meta name="pypi:repository-version" content="{API_VERSION}">',
    ]
    if status:
        lines.append(f'<meta name="pypi:project-status" content="{html.escape(status)}">')
    if reason:
        lines.append(f'<meta name="pypi:project-status-reason" content="{html.escape(reason)}">')
    lines.append(f"<title>{html.escape(title)}</title>\n</head>\n<body>\n<h1>{html.escape(title)}</h1>\n")
    return "\n".join(lines).encode()


_HTML_TAIL = b"</body>\n</html>\n"
