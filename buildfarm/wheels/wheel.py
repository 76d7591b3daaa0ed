"""A wheel: one pass over its members, then its own rules (W-01 to W-04, W-13; the others it calls)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from email.parser import BytesParser
from email.policy import compat32
from tempfile import SpooledTemporaryFile
from typing import BinaryIO
from zipfile import ZipFile

from packaging.tags import InvalidTag, Tag, TooManyTagsError, parse_tag

from buildfarm.wheels import binaries
from buildfarm.wheels.layout import check_entry_points, check_places
from buildfarm.wheels.metadata import MAX_METADATA, CoreMetadata, read_metadata
from buildfarm.wheels.names import FileName
from buildfarm.wheels.record import Seen, check_record
from buildfarm.wheels.rules import Report, shown
from buildfarm.wheels.stream import CHUNK, Budget, HashedStream
from buildfarm.wheels.zipwalk import Member, agree_with_zipfile, walk

_IN_MEMORY = 16 * 1024 * 1024
#: Files of .dist-info that are read, with the most bytes each may have.
_READ = {
    "METADATA": MAX_METADATA,
    "RECORD": 32 * 1024 * 1024,
    "WHEEL": 64 * 1024,
    "entry_points.txt": 1024 * 1024,
}


@dataclass
class _Pass:
    """What one pass over the members has gathered."""

    members: list[Member] = field(default_factory=list)
    seen: dict[str, Seen] = field(default_factory=dict)
    read: dict[str, bytes] = field(default_factory=dict)
    code: binaries.Code = field(default_factory=binaries.Code)


def check_wheel(
    file: BinaryIO, stream: HashedStream, name: FileName, report: Report, budget: Budget
) -> CoreMetadata:
    """Check a whole wheel; what its METADATA says.

    `stream` reads `file` from its start; `file` is used again once the framing is known to be sound.

    Raises:
        InvalidInput: any of the Z, W, E and M rules.
    """
    info = f"{name.stem}.dist-info"
    found = _gather(stream, info, name, report, budget)
    agree_with_zipfile(file, found.members, report)
    _check_info(found, info, report)
    _check_wheel_file(found, info, name, report)

    def reread(path: str) -> Iterator[bytes]:
        with ZipFile(file) as archive, archive.open(path) as member:
            while chunk := member.read(CHUNK):
                budget.spend(0, path)
                yield chunk

    check_record(found.read[f"{info}/RECORD"], info, found.seen, reread, report)
    check_places(found.seen, name.stem, report)
    entry_points = f"{info}/entry_points.txt"
    if entry_points in found.read:
        check_entry_points(found.read[entry_points], entry_points, report)
    metadata = read_metadata(found.read[f"{info}/METADATA"], name, f"{info}/METADATA", report)
    for path in metadata.license_files:
        if f"{info}/licenses/{path}" not in found.seen:
            report.judge("W-13", f"the licence file {shown(path)} is not in the wheel.", f"{info}/METADATA")
    _check_imports(metadata, found, report)
    return replace(metadata, packages=tuple(_packages(found.seen, name.stem)))


def _gather(stream: HashedStream, info: str, name: FileName, report: Report, budget: Budget) -> _Pass:
    found = _Pass()
    for member, content in walk(stream, report, budget):
        found.members.append(member)
        if member.is_folder:
            continue
        folder, _, base = member.name.rpartition("/")
        most = _READ.get(base) if folder == info else None
        if most is not None and member.size > most:
            report.refuse("W-02", f"{base} is larger than {most} bytes.", member.name)
        digest = hashlib.sha256()
        first = next(content, b"")
        kind = binaries.kind_of(first, member.name)
        with SpooledTemporaryFile(max_size=_IN_MEMORY) as kept:
            for chunk in _chained(first, content):
                digest.update(chunk)
                if kind is not None or most is not None:
                    kept.write(chunk)
            kept.seek(0)
            if most is not None:
                found.read[member.name] = kept.read()
            if kind is not None:
                found.code.read(member.name, kind, kept, name, report)
        found.seen[member.name] = Seen(digest.digest(), member.size)
    binaries.check_code(found.code, found.seen, name, report)
    return found


def _chained(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest


def _check_info(found: _Pass, info: str, report: Report) -> None:
    folders = {path.split("/")[0] for path in found.seen if path.split("/")[0].endswith(".dist-info")}
    if folders != {info}:
        names = ", ".join(shown(folder) for folder in sorted(folders)[:3]) or "none"
        report.refuse("W-01", f"the wheel must hold the one folder {shown(info)}; it holds {names}.")
    for base in ("WHEEL", "METADATA", "RECORD"):
        if f"{info}/{base}" not in found.read:
            report.refuse("W-02", f"the wheel holds no {base}.", f"{info}/{base}")


def _check_wheel_file(found: _Pass, info: str, name: FileName, report: Report) -> None:
    entry = f"{info}/WHEEL"
    try:
        found.read[entry].decode("utf-8")
        message = BytesParser(policy=compat32).parsebytes(found.read[entry])
        fields = {key: [str(value) for value in message.get_all(key, [])] for key in message}
        version, pure = fields["Wheel-Version"], fields["Root-Is-Purelib"]
    except (UnicodeDecodeError, KeyError):
        report.refuse("W-02", "WHEEL cannot be read or lacks a field.", entry)
    if len(version) != 1 or not version[0].startswith("1.") or len(pure) != 1:
        report.refuse("W-02", "WHEEL is not of version 1.x.", entry)
    if _tags(fields.get("Tag", []), entry, report) != name.tags:
        report.refuse("W-03", "the tags in WHEEL are not those of the file name.", entry)
    if pure[0].strip().lower() not in ("true", "false"):
        report.refuse("W-02", "Root-Is-Purelib is neither true nor false.", entry)
    is_pure = pure[0].strip().lower() == "true"
    for path in found.code.kinds:
        if is_pure and not path.startswith(f"{name.stem}.data/") and binaries.is_module(path):
            report.judge("W-04", "a wheel that calls itself pure holds an extension module.", path)
    if not is_pure and not found.code.kinds and name.is_native:
        report.judge("W-04", "the wheel is for a platform but holds no machine code; did its compiler fail?")


def _tags(lines: list[str], entry: str, report: Report) -> frozenset[Tag]:
    tags: set[Tag] = set()
    try:
        for line in lines:
            tags |= parse_tag(line.strip(), limit=1000)
    except (InvalidTag, TooManyTagsError):
        report.refuse("W-03", "a tag in WHEEL is not valid.", entry)
    return frozenset(tags)


def _packages(paths: Iterable[str], stem: str) -> list[str]:
    """Packages and modules at the top; a namespace, which others may share (PEP 420), is none."""
    names = set()
    for path in paths:
        parts = path.split("/")
        if len(parts) > 2 and parts[0] == f"{stem}.data" and parts[1] in ("purelib", "platlib"):
            parts = parts[2:]
        top, *rest = parts
        module, dot, ending = top.partition(".")
        is_module = not rest and dot and (ending == "py" or ending.endswith(("so", "pyd")))
        if is_module or (len(rest) == 1 and rest[0].partition(".")[0] == "__init__"):
            names.add(module)
    return sorted(names)


def _check_imports(metadata: CoreMetadata, found: _Pass, report: Report) -> None:
    tops = {path.split("/")[0].split(".")[0] for path in found.seen}
    for line in metadata.import_names:
        top = line.partition(";")[0].strip().split(".")[0]
        if top not in tops:
            report.judge("M-09", f"Import-Name {shown(top)} is not in the wheel.", top)
