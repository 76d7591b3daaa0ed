"""RECORD: the list of a wheel's members with hash and size, held against the bytes (W-06 to W-09)."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from buildfarm.wheels.rules import Report

_UNLISTED = ("RECORD", "RECORD.jws", "RECORD.p7s")


@dataclass(frozen=True)
class Seen:
    """What the pass over the archive found a member to be."""

    sha256: bytes
    size: int


def check_record(
    data: bytes,
    info: str,
    seen: dict[str, Seen],
    reread: Callable[[str], Iterator[bytes]],
    report: Report,
) -> None:
    """Hold RECORD against the members in `seen` (folders left out); `info` is the .dist-info folder.

    `reread` yields a member's bytes again, for the rare hashes that the pass did not compute.

    Raises:
        InvalidInput: W-06 to W-09.
    """
    listed: set[str] = set()
    unhashed = {f"{info}/{name}" for name in _UNLISTED}
    for path, given, size in _rows(data, f"{info}/RECORD", report):
        if path in listed:
            report.refuse("W-06", "a path is listed twice in RECORD.", path)
        listed.add(path)
        if path not in seen:
            report.refuse("W-08", "RECORD lists a file that the wheel does not hold.", path)
        if path == f"{info}/RECORD":
            if given or size:
                report.refuse("W-09", "RECORD gives a hash or size of itself.", path)
            continue
        if given or path not in unhashed:
            _check_hash(path, given, seen[path], reread, report)
        if size and size != str(seen[path].size):
            report.refuse("W-09", "the size in RECORD does not agree with the bytes.", path)
    for path in seen:
        if path not in listed and path not in unhashed:
            report.refuse("W-07", "a member of the wheel is not listed in RECORD.", path)


def _rows(data: bytes, entry: str, report: Report) -> Iterator[tuple[str, str, str]]:
    try:
        rows = list(csv.reader(io.StringIO(data.decode("utf-8"), newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error):
        report.refuse("W-06", "RECORD is not CSV in UTF-8.", entry)
    for row in rows:
        if len(row) != 3 or "\\" in row[0] or not row[0]:
            report.refuse("W-06", "a line of RECORD is not `path,hash,size` with `/` in the path.", entry)
        yield row[0], row[1], row[2]


def _check_hash(
    path: str, given: str, seen: Seen, reread: Callable[[str], Iterator[bytes]], report: Report
) -> None:
    algorithm, _, text = given.partition("=")
    if algorithm == "sha256":
        digest = seen.sha256
    elif algorithm in ("sha384", "sha512"):
        hasher = hashlib.new(algorithm)
        for chunk in reread(path):
            hasher.update(chunk)
        digest = hasher.digest()
    else:
        report.refuse("W-09", "RECORD gives no sha256, sha384 or sha512 for a member.", path)
    if text != base64.urlsafe_b64encode(digest).rstrip(b"=").decode():
        report.refuse("W-09", "the hash in RECORD does not agree with the bytes.", path)
