"""The JSON API documents of a project and of each release, as bytes, from facts.

Not a standard, but what scanners, mirrors and older clients ask: the shapes are the public index's.
Where the farm has no figure (downloads, signatures) the value is the one that stands for none there.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC
from functools import lru_cache
from typing import Any
from urllib.parse import quote

from packaging.metadata import RawMetadata, parse_email
from packaging.utils import InvalidWheelFilename, parse_wheel_filename
from packaging.version import Version

from buildfarm import clock
from buildfarm.index.pagefacts import PageFile, PageRelease
from buildfarm.index.runs import Piece, Runs, Stream, gzip_of

#: Reads the core metadata of a file, whose SHA-256 this is; None when it is not stored here.
ReadMetadata = Callable[[str], bytes | None]

_TEXTS = (
    "author", "author_email", "description", "description_content_type", "home_page", "license",
    "license_expression", "maintainer", "maintainer_email", "requires_python", "summary",
)  # fmt: skip
_LISTS = {
    "classifiers": "classifiers", "dynamic": "dynamic", "license_files": "license_files",
    "provides_extra": "provides_extra", "requires_dist": "requires_dist",
}  # fmt: skip


class JsonRendering:
    """The documents of one project in one channel; `root` is the channel's absolute URL."""

    def __init__(self, name: str, root: str, read: ReadMetadata) -> None:
        self.name, self._root, self._read = name, root, read
        self._releases = Stream(self._release_entry, b",")

    def project(self, releases: Runs[PageRelease], serial: int) -> bytes:
        """The document of the project, gzip: every release, and the files of the newest."""
        newest = newest_of(releases)
        head = _json({"info": self._info(newest), "last_serial": serial, "releases": {}})[:-2]
        urls = [self._file_entry(file) for file in newest.files] if newest else []
        tail = b"}," + _json({"urls": urls, "vulnerabilities": []})[1:]
        return gzip_of(releases.pieces(head, self._releases, tail))

    def release(self, release: PageRelease, serial: int) -> bytes:
        """The document of one release, gzip."""
        told = {
            "info": self._info(release),
            "last_serial": serial,
            "urls": [self._file_entry(file) for file in release.files],
            "vulnerabilities": [],
        }
        return gzip_of([Piece.of(_json(told), zstd=False)])

    def _release_entry(self, release: PageRelease) -> bytes:
        files = [self._file_entry(file) for file in release.files]
        return _json(release.version) + b":" + _json(files)

    def _file_entry(self, file: PageFile) -> dict[str, Any]:
        is_wheel = file.filename.endswith(".whl")
        return {
            "comment_text": None,
            "core-metadata": {"sha256": file.metadata_sha256} if is_wheel and file.metadata_sha256 else False,
            "digests": {"sha256": file.sha256},
            "downloads": -1,
            "filename": file.filename,
            "has_sig": False,
            "packagetype": "bdist_wheel" if is_wheel else "sdist",
            "python_version": _python_version(file.filename) if is_wheel else "source",
            "requires_python": file.requires_python,
            "size": file.size,
            "upload_time": file.uploaded_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S"),
            "upload_time_iso_8601": clock.iso(file.uploaded_at),
            "url": f"{self._root}/files/{self.name}/{quote(file.filename)}",
            "yanked": file.yanked is not None,
            "yanked_reason": file.yanked or None,
        }

    def _info(self, release: PageRelease | None) -> dict[str, Any]:
        page = f"{self._root}/simple/{self.name}/"
        info: dict[str, Any] = {"name": self.name, "package_url": page, "project_url": page}
        if release is None:
            return info | {"version": None, "summary": None, "yanked": False, "yanked_reason": None}
        raw = _parsed(self._metadata(release))
        urls = dict(raw.get("project_urls") or {})
        yanked = [file.yanked for file in release.files]
        return {
            **info,
            **{name: raw.get(name) for name in _TEXTS},
            **{name: raw.get(key) for name, key in _LISTS.items()},
            "bugtrack_url": None,
            "docs_url": None,
            "download_url": raw.get("download_url"),
            "downloads": {"last_day": -1, "last_month": -1, "last_week": -1},
            "keywords": ",".join(raw.get("keywords") or []) or None,
            "name": raw.get("name") or self.name,
            "platform": None,
            "project_urls": urls or None,
            "release_url": f"{self._root}/pypi/{self.name}/{release.version}/json",
            "summary": raw.get("summary") or release.summary,
            "version": release.version,
            "yanked": None not in yanked,
            "yanked_reason": next(filter(None, yanked), None) if None not in yanked else None,
        }

    def _metadata(self, release: PageRelease) -> bytes:
        # Wheels say all that there is to say; an sdist's may be dynamic.
        ordered = sorted(release.files, key=lambda file: (not file.filename.endswith(".whl"), file.filename))
        for file in ordered:
            if file.metadata_sha256 and (text := self._read(file.metadata_sha256)) is not None:
                return text
        return b""


def newest_of(releases: Runs[PageRelease]) -> PageRelease | None:
    """The release that a person means by the project: final and not yanked where there is one."""
    return releases.last(_is_final) or releases.last(bool)


def _is_final(release: PageRelease) -> bool:
    is_yanked = all(file.yanked is not None for file in release.files)
    return not is_yanked and not Version(release.version).is_prerelease


# What a release's document says, the project's says again.
@lru_cache(maxsize=16)
def _parsed(metadata: bytes) -> RawMetadata:
    return parse_email(metadata)[0]


@lru_cache(maxsize=1024)
def _python_version(filename: str) -> str:
    try:
        tags = parse_wheel_filename(filename, validate_order=False)[3]
    except InvalidWheelFilename:
        return "any"
    return ".".join(sorted({tag.interpreter for tag in tags}))


def _json(value: Any) -> bytes:  # noqa: ANN401
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace")
