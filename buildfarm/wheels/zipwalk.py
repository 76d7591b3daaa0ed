"""A strict zip reader that goes forward through the local headers (rules Z-01 to Z-13).

`zipfile` believes the central directory, streaming readers believe the local headers; archives on
which they differ are the attack. This reader takes the local headers in file order, inflates each
member once, and then insists that the directory says the same (APPNOTE.TXT 6.3.10, section 4.3).
"""

from __future__ import annotations

import re
import stat
import unicodedata
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from struct import Struct
from typing import BinaryIO
from zipfile import BadZipFile, ZipFile

from buildfarm.wheels.rules import Report
from buildfarm.wheels.stream import CHUNK, Budget, HashedStream

_LOCAL = Struct("<5H3I2H")
_CENTRAL = Struct("<6H3I5H2I")
_END = Struct("<4H2IH")
_END64 = Struct("<Q2H2I4Q")
_LOCATOR = Struct("<IQI")
_UTF8 = 1 << 11
_ALLOWED_FLAGS = _UTF8 | 0b110  # two bits say how hard deflate tried
_STORED, _DEFLATED = 0, 8
_ZIP64_EXTRA, _UNICODE_PATH_EXTRA = 0x0001, 0x7075
_FULL32, _FULL16 = 0xFFFFFFFF, 0xFFFF
_DEVICE = re.compile(r"(?:con|prn|aux|nul|com[1-9]|lpt[1-9])(?:\..*)?", re.IGNORECASE)


@dataclass(frozen=True)
class Member:
    """One member as its local header tells it; sizes in bytes, `offset` that of the header."""

    name: str
    offset: int
    flags: int
    method: int
    moment: tuple[int, int]
    crc: int
    compressed: int
    size: int

    @property
    def is_folder(self) -> bool:
        """Whether the name is that of a directory entry."""
        return self.name.endswith("/")


def walk(stream: HashedStream, report: Report, budget: Budget) -> Iterator[tuple[Member, Iterator[bytes]]]:
    """Every member with its content, in file order; the framing is checked when the last was taken.

    What a consumer leaves unread of a member is read for it.

    Raises:
        InvalidInput: Z-01 to Z-13.
    """
    members: list[Member] = []
    signature = stream.exactly(4)
    if signature != b"PK\3\4":
        report.refuse("Z-01", "the file does not start as a zip archive with a member.")
    while signature == b"PK\3\4":
        member = _local(stream, report, budget)
        members.append(member)
        content = _content(stream, member, report, budget)
        yield member, content
        for _rest in content:
            pass
        signature = stream.exactly(4)
    _directory(stream, signature, members, report)
    _names(members, report)


def agree_with_zipfile(file: BinaryIO, members: list[Member], report: Report) -> None:
    """Hold the list of members against the one Python's own reader makes.

    Raises:
        InvalidInput: Z-04.
    """
    try:
        with ZipFile(file) as archive:
            theirs = [(i.filename, i.header_offset, i.file_size, i.CRC) for i in archive.infolist()]
    except (BadZipFile, NotImplementedError, ValueError):
        report.refuse("Z-04", "Python's zip reader cannot open the archive.")
    if theirs != [(m.name, m.offset, m.size, m.crc) for m in members]:
        report.refuse("Z-04", "Python's zip reader finds other members than the archive holds.")


def _take(stream: HashedStream, count: int, report: Report) -> bytes:
    taken = stream.exactly(count)
    if taken is None:
        report.refuse("Z-01", "the archive is cut off.")
    return taken


def _local(stream: HashedStream, report: Report, budget: Budget) -> Member:
    offset = stream.position - 4
    fields = _LOCAL.unpack(_take(stream, _LOCAL.size, report))
    _version, flags, method, time, date, crc, compressed, size, name_length, extra_length = fields
    name = _name(_take(stream, name_length, report), flags, report)
    extra = _zip64(_take(stream, extra_length, report), [size, compressed], name, report)
    size, compressed = extra
    if flags & ~_ALLOWED_FLAGS:
        report.refuse("Z-05", f"the member has flags {flags:#06x}: streamed, encrypted or patched.", name)
    if method not in (_STORED, _DEFLATED):
        report.refuse("Z-05", f"the member is packed by method {method}; only deflate is taken.", name)
    if method == _STORED and compressed != size:
        report.refuse("Z-03", "a stored member has two sizes.", name)
    budget.member(name)
    budget.spend(size, name)
    return Member(name, offset, flags, method, (time, date), crc, compressed, size)


def _name(raw: bytes, flags: int, report: Report) -> str:
    try:
        name = raw.decode("utf-8" if flags & _UTF8 else "ascii")
    except UnicodeDecodeError:
        report.refuse("Z-07", "a member's name is neither ASCII nor marked as UTF-8.", repr(raw))
    problem = path_problem(name.removesuffix("/"))
    if problem:
        report.refuse("Z-07", f"the name of a member {problem}.", name)
    for part in name.split("/"):
        if _DEVICE.fullmatch(part) or part.endswith((".", " ")):
            report.judge("Z-07", "the name of a member cannot exist on Windows.", name)
    return name


def path_problem(path: str) -> str | None:
    """Why `path` is not a plain relative path that stays in its folder, or None."""
    if not path or path.startswith("/") or re.match(r"[A-Za-z]:", path):
        return "is empty or absolute"
    if "\\" in path or any(unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") for letter in path):
        return "holds a backslash or control character"
    if any(part in ("", ".", "..") for part in path.split("/")):
        return "climbs or has empty parts"
    return None


def _zip64(extra: bytes, values: list[int], name: str, report: Report) -> list[int]:
    """`values` with those that are full replaced from the Zip64 extra field (APPNOTE 4.5.3)."""
    resolved = list(values)
    seen = at = 0
    while at < len(extra):
        kind, length = (
            int.from_bytes(extra[at : at + 2], "little"),
            int.from_bytes(extra[at + 2 : at + 4], "little"),
        )
        body = extra[at + 4 : at + 4 + length]
        at += 4 + length
        if at > len(extra) or kind == _UNICODE_PATH_EXTRA:
            report.refuse("Z-08", "an extra field is malformed or renames the member.", name)
        if kind != _ZIP64_EXTRA:
            continue
        seen += 1
        full = [index for index, value in enumerate(values) if value == _FULL32]
        if not full and seen == 1 and body == b"".join(value.to_bytes(8, "little") for value in values):
            continue  # Bazel's writer says once more what the header says
        if seen > 1 or length != 8 * len(full):
            report.refuse("Z-08", "the Zip64 field is doubled or has the wrong length.", name)
        for place, index in enumerate(full):
            resolved[index] = int.from_bytes(body[8 * place : 8 * place + 8], "little")
    return resolved


def _content(stream: HashedStream, member: Member, report: Report, budget: Budget) -> Iterator[bytes]:
    size, crc = 0, 0
    for plain in _inflated(stream, member, report):
        size += len(plain)
        if size > member.size:
            report.refuse("Z-13", "the member is longer than its header says.", member.name)
        crc = zlib.crc32(plain, crc)
        budget.spend(0, member.name)
        yield plain
    if size != member.size or crc != member.crc:
        report.refuse("Z-13", "the member's bytes do not agree with its size and CRC.", member.name)


def _inflated(stream: HashedStream, member: Member, report: Report) -> Iterator[bytes]:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS) if member.method == _DEFLATED else None
    left = member.compressed
    while left:
        packed = stream.read(min(left, CHUNK))
        if not packed:
            report.refuse("Z-01", "the archive is cut off.", member.name)
        left -= len(packed)
        if inflater is None:
            yield packed
            continue
        while packed:
            try:
                yield inflater.decompress(packed, CHUNK)
            except zlib.error:
                report.refuse("Z-13", "the member does not inflate.", member.name)
            if inflater.unused_data:
                report.refuse("Z-13", "there are bytes after the end of the deflated member.", member.name)
            packed = inflater.unconsumed_tail
    if inflater is not None:
        yield inflater.flush()  # a match that was cut by the chunk limit: at most 258 bytes
        if not inflater.eof:
            report.refuse("Z-13", "the member does not inflate to its end.", member.name)


def _directory(stream: HashedStream, signature: bytes | None, members: list[Member], report: Report) -> None:
    start = stream.position - 4
    entries: list[Member] = []
    while signature == b"PK\1\2":
        if len(entries) == len(members):
            report.refuse("Z-03", "the directory lists more members than there are.")
        entries.append(_central(stream, report))
        signature = stream.exactly(4)
    end = stream.position - 4
    _known_end(signature, (b"PK\5\6", b"PK\6\6"), report)
    offsets = [entry.offset for entry in entries]
    known = {member.offset: member for member in members}
    if len(set(offsets)) < len(offsets) or not set(offsets) <= set(known):
        report.refuse("Z-11", "two directory entries share bytes, or one points into another member.")
    if len(entries) != len(members):
        report.refuse("Z-03", "the directory does not list every member.")
    for entry in entries:
        if entry != known[entry.offset]:
            report.refuse("Z-03", "local header and directory entry differ.", known[entry.offset].name)
    if offsets != sorted(offsets):
        report.refuse("Z-02", "the directory lists the members in another order.")
    _end(stream, signature, (len(entries), end - start, start), report)


def _central(stream: HashedStream, report: Report) -> Member:
    fields = _CENTRAL.unpack(_take(stream, _CENTRAL.size, report))
    _made, _needed, flags, method, time, date, crc, compressed, size = fields[:9]
    name_length, extra_length, comment_length, disk, _internal, external, offset = fields[9:]
    name = _name(_take(stream, name_length, report), flags, report)
    extra = _take(stream, extra_length, report)
    if comment_length:
        report.refuse("Z-01", "a member carries a comment.", name)
    if disk:
        report.refuse("Z-12", "the archive is spread over several disks.", name)
    mode = external >> 16
    kind = stat.S_IFMT(mode)
    folder = name.endswith("/")
    if kind not in (0, stat.S_IFDIR if folder else stat.S_IFREG) or mode & (stat.S_ISUID | stat.S_ISGID):
        report.refuse("Z-09", "the member is neither a plain file nor a folder.", name)
    size, compressed, offset = _zip64(extra, [size, compressed, offset], name, report)
    return Member(name, offset, flags, method, (time, date), crc, compressed, size)


def _known_end(signature: bytes | None, known: tuple[bytes, ...], report: Report) -> None:
    if signature is None:
        report.refuse("Z-01", "the archive is cut off.")
    if signature not in known:
        report.refuse("Z-02", "there are bytes between the records of the archive that belong to none.")


def _end(stream: HashedStream, signature: bytes | None, real: tuple[int, int, int], report: Report) -> None:
    """Check the end records against the real count, size and offset of the directory."""
    position = stream.position - 4
    wide = signature == b"PK\6\6"
    if wide:
        length, _made, _needed, disk, start_disk, here, total, size, offset = _END64.unpack(
            _take(stream, _END64.size, report)
        )
        if length != _END64.size - 8 or (here, total, size, offset) != (real[0], *real):
            report.refuse("Z-04", "the Zip64 end record does not describe the archive.")
        if _take(stream, 4, report) != b"PK\6\7":
            report.refuse("Z-02", "the Zip64 locator is missing.")
        locator_disk, where, disks = _LOCATOR.unpack(_take(stream, _LOCATOR.size, report))
        if disk or start_disk or locator_disk or disks != 1:
            report.refuse("Z-12", "the archive is spread over several disks.")
        if where != position:
            report.refuse("Z-04", "the Zip64 locator points elsewhere.")
        signature = stream.exactly(4)
        _known_end(signature, (b"PK\5\6",), report)
    disk, start_disk, here, total, size, offset, comment = _END.unpack(_take(stream, _END.size, report))
    if disk or start_disk:
        report.refuse("Z-12", "the archive is spread over several disks.")
    full = (_FULL16, _FULL16, _FULL32, _FULL32)
    for said, true, unset in zip((here, total, size, offset), (real[0], *real), full, strict=True):
        if said != true and not (wide and said == unset):
            report.refuse("Z-04", "the end record does not describe the archive.")
    if comment or stream.read(1):
        report.refuse("Z-01", "the archive has a comment, or bytes after its end.")


def _names(members: list[Member], report: Report) -> None:
    """No two members under one name, no file that is another's folder, no empty folder."""
    folded: dict[str, str] = {}
    exact: set[str] = set()
    parents: set[str] = set()
    for member in members:
        path = member.name.removesuffix("/")
        if path in exact:
            report.refuse("Z-06", "two members have the same name.", member.name)
        exact.add(path)
        plain = unicodedata.normalize("NFC", path).casefold()
        if folded.setdefault(plain, path) != path:
            report.judge("Z-06", "two members have the same name on some systems.", member.name)
        parts = path.split("/")
        parents.update("/".join(parts[:depth]) for depth in range(1, len(parts)))
    for member in members:
        path = member.name.removesuffix("/")
        if not member.is_folder and path in parents:
            report.refuse("Z-06", "a member is a file and a folder at once.", member.name)
        if member.is_folder and member.size:
            report.refuse("Z-09", "a folder has content.", member.name)
        if member.is_folder and path not in parents:
            report.judge("Z-09", "a folder holds nothing.", member.name)
