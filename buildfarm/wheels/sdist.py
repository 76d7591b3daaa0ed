"""An sdist: a gzip stream around a tar archive, read once by two readers (rules S-01 to S-09)."""

from __future__ import annotations

import tarfile
import tomllib
import zipfile
import zlib
from typing import BinaryIO, cast

from packaging.requirements import Requirement
from packaging.utils import InvalidSdistFilename, parse_sdist_filename

from buildfarm.wheels.metadata import MAX_METADATA, CoreMetadata, read_metadata
from buildfarm.wheels.names import FileName
from buildfarm.wheels.rules import Report, shown
from buildfarm.wheels.stream import CHUNK, Budget, HashedStream
from buildfarm.wheels.tarwalk import TarReader, check_links
from buildfarm.wheels.zipwalk import path_problem

#: Files of the top folder that are read, with the most bytes each may have.
_KEPT = {"PKG-INFO": MAX_METADATA, "pyproject.toml": 1024 * 1024}
_HAS_NAME, _KNOWN_FLAGS = 0b1000, 0b1001
_KINDS = {tarfile.REGTYPE: "0", tarfile.AREGTYPE: "0", tarfile.CONTTYPE: "0", tarfile.DIRTYPE: "5"}


def check_sdist(
    file: BinaryIO, stream: HashedStream, name: FileName, report: Report, budget: Budget
) -> CoreMetadata:
    """Check a whole sdist; what its PKG-INFO says.

    Raises:
        InvalidInput: any of the S and M rules, Z-10.
    """
    reader = TarReader(report, budget, _most_to_keep)
    _read_twice(_Gunzip(stream, reader, report, budget), reader, report)
    if zipfile.is_zipfile(file):
        report.refuse("S-09", "the file can be opened as a zip archive as well.")
    top = _top(reader, name, report)
    entry = f"{top}/PKG-INFO"
    check_links(reader.members, top, set(reader.kept), report)
    metadata = read_metadata(reader.kept[entry], name, entry, report)
    if metadata.metadata_version in ("1.0", "1.1", "1.2", "2.1"):
        report.note(
            "S-07", f"Metadata-Version {metadata.metadata_version} does not tell which fields are static."
        )
    _check_pyproject(reader.kept, f"{top}/pyproject.toml", report)
    present = {member.name for member in reader.members}
    for path in metadata.license_files:
        if f"{top}/{path}" not in present:
            report.judge("S-08", f"the licence file {shown(path)} is not in the archive.", entry)
    return metadata


def _most_to_keep(path: str) -> int | None:
    top, _, base = path.partition("/")
    return _KEPT.get(base) if top else None


def _top(reader: TarReader, name: FileName, report: Report) -> str:
    """The one folder at the top of the archive."""
    tops = sorted({member.name.split("/")[0] for member in reader.members})
    if len(tops) != 1 or f"{tops[0]}/PKG-INFO" not in reader.kept:
        report.refuse("S-03", f"the archive must hold the one folder {shown(name.stem)} with PKG-INFO in it.")
    if tops[0] != name.stem:
        # Tools have normalised the file's name and left the folder's as it was.
        say = report.note if _same(tops[0], name) else report.judge
        say("S-03", f"the folder in the archive should be named {shown(name.stem)}.", tops[0])
    return tops[0]


def _same(folder: str, name: FileName) -> bool:
    try:
        return parse_sdist_filename(f"{folder}.tar.gz") == (name.project, name.version)
    except InvalidSdistFilename:
        return False


class _Gunzip:
    """A strict reader of one gzip member (RFC 1952) that shows all it reads to a `TarReader`."""

    def __init__(self, stream: HashedStream, reader: TarReader, report: Report, budget: Budget) -> None:
        self._stream = stream
        self._reader = reader
        self._report = report
        self._budget = budget
        self._inflater = zlib.decompressobj(zlib.MAX_WBITS | 16)
        self._packed = stream.read(CHUNK)
        self._plain = b""
        self._check_header(self._packed)

    def read(self, size: int) -> bytes:
        """Exactly `size` bytes, fewer only at the end."""
        parts = []
        while size:
            if not self._plain:
                self._plain = self._more()
                if not self._plain:
                    break
            parts.append(self._plain[:size])
            self._plain = self._plain[size:]
            size -= len(parts[-1])
        return b"".join(parts)

    def _more(self) -> bytes:
        while not self._inflater.eof:
            if not self._packed:
                self._packed = self._stream.read(CHUNK)
            try:
                # An empty input still hands out what the last call held back.
                plain = self._inflater.decompress(self._packed, CHUNK)
            except zlib.error:
                self._report.refuse("S-01", "the gzip stream is damaged.")
            if not plain and not self._packed and not self._inflater.eof:
                self._report.refuse("S-01", "the gzip stream is cut off.")
            self._packed = self._inflater.unconsumed_tail
            if plain:
                self._budget.spend(len(plain))
                self._reader.feed(plain)
                return plain
        if self._inflater.unused_data or self._stream.read(1):
            self._report.refuse("S-01", "there are bytes after the gzip stream.")
        return b""

    def _check_header(self, header: bytes) -> None:
        if len(header) < 18 or header[:3] != b"\x1f\x8b\x08" or header[3] & ~_KNOWN_FLAGS:
            self._report.refuse("S-01", "the file is not a plain gzip stream.")
        if header[3] & _HAS_NAME:
            inner = header[10:].split(b"\0")[0]
            if len(inner) > 255 or path_problem(inner.decode("latin-1")):
                self._report.refuse("S-01", "the gzip header names a path that leads out of its folder.")
            if b"/" in inner:  # as distutils wrote it for decades; no reader follows it
                self._report.note("S-01", "the gzip header names a path.")


def _read_twice(source: _Gunzip, reader: TarReader, report: Report) -> None:
    """Let Python's tar reader pull the stream that feeds the strict one, then compare what they saw."""
    theirs = []
    try:
        with tarfile.open(fileobj=cast("BinaryIO", source), mode="r|", encoding="utf-8") as archive:
            for info in archive:
                kind = _KINDS.get(info.type, info.type.decode("latin-1"))
                theirs.append((info.name.rstrip("/"), kind, info.size))
    except (tarfile.TarError, ValueError, EOFError):
        report.refuse("S-02", "Python's tar reader cannot read the archive.")
    while source.read(CHUNK):
        pass
    reader.finish()
    if theirs != [(member.name, member.kind, member.size) for member in reader.members]:
        report.refuse("S-02", "two tar readers find different members in the archive.")


def _check_pyproject(kept: dict[str, bytes], entry: str, report: Report) -> None:
    if entry not in kept:
        return
    try:
        build = tomllib.loads(kept[entry].decode("utf-8")).get("build-system", {})
        backend, requires = build.get("build-backend", ""), build.get("requires", [])
        paths = build.get("backend-path", [])
        if not isinstance(backend, str) or not isinstance(requires, list) or not isinstance(paths, list):
            raise TypeError(entry)
        for requirement in requires:
            Requirement(requirement)
    except (ValueError, AttributeError, TypeError, RecursionError):
        report.judge("S-07", "pyproject.toml or its [build-system] cannot be read.", entry)
    else:
        if any(path != "." and path_problem(str(path).removeprefix("./")) for path in paths):
            report.judge("S-07", "backend-path in pyproject.toml leads out of the tree.", entry)
