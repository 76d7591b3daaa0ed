"""A strict tar reader, fed while Python's own reader goes over the same bytes (S-02, S-04 to S-06).

POSIX.1-2001 (ustar with pax headers) and the GNU long-name form are read; whatever readers disagree
on is refused: sparse files, contradicting or stacked extended headers, bad checksums, bytes after the
end. Feeding it from below `tarfile` means it refuses a header before `tarfile` acts on it.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable
from dataclasses import dataclass

from buildfarm.wheels.rules import Report
from buildfarm.wheels.stream import Budget
from buildfarm.wheels.zipwalk import path_problem

_BLOCK = 512
_MAX_EXTENDED = 1024 * 1024
_FILE, _FOLDER, _LINK, _SYMLINK = "0", "5", "1", "2"
_EXTENDED = {"x": "pax", "L": "path", "K": "linkpath"}


@dataclass(frozen=True)
class TarMember:
    """One member; `kind` is the type flag (`0` file, `5` folder, `1` and `2` links)."""

    name: str
    kind: str
    size: int
    target: str


class TarReader:
    """Takes the bytes of a tar archive in order and keeps its members.

    `wanted` says, for a member's name, the most bytes of it to keep, or None to keep nothing.
    """

    def __init__(self, report: Report, budget: Budget, wanted: Callable[[str], int | None]) -> None:
        self.members: list[TarMember] = []
        self.kept: dict[str, bytes] = {}
        self._report = report
        self._budget = budget
        self._wanted = wanted
        self._ahead = bytearray()
        self._left = 0  # bytes of content and padding still to come
        self._content = 0  # bytes of content still to come
        self._sink: bytearray | None = None
        self._done: Callable[[], None] | None = None
        self._extended: dict[str, str] = {}
        self._stacked: set[str] = set()
        self._zeros = 0

    def feed(self, data: bytes) -> None:
        """Go on with the next bytes of the archive.

        Raises:
            InvalidInput: S-02, S-04 to S-06, Z-10.
        """
        view = memoryview(data)
        while view:
            if self._left:
                view = view[self._pass_content(view) :]
                continue
            lacking = _BLOCK - len(self._ahead)
            self._ahead += view[:lacking]
            view = view[lacking:]
            if len(self._ahead) == _BLOCK:
                block, self._ahead = bytes(self._ahead), bytearray()
                self._header(block)

    def finish(self) -> None:
        """Insist that the archive was whole.

        Raises:
            InvalidInput: S-02.
        """
        if self._left or self._ahead or self._zeros < 2 or self._extended:
            self._report.refuse("S-02", "the tar archive is cut off.")

    def _pass_content(self, view: memoryview) -> int:
        count = min(self._left, len(view))
        content = min(self._content, count)
        if self._sink is not None:
            self._sink += view[:content]
        self._left -= count
        self._content -= content
        if not self._left and self._done is not None:
            done, self._done = self._done, None
            done()
        return count

    def _header(self, block: bytes) -> None:
        if not any(block):
            self._zeros += 1
            return
        if self._zeros:
            self._report.refuse("S-02", "there are bytes after the end of the tar archive.")
        if block[257:262] != b"ustar" or _number(block[148:156]) != sum(block) - sum(block[148:156]) + 256:
            self._report.refuse("S-02", "a tar header is of another format, or its checksum is wrong.")
        size, flag = _number(block[124:136]), chr(block[156])
        if size is None:
            self._report.refuse("S-02", "a tar header has no valid size.")
        if flag in _EXTENDED or flag == "g":
            self._open_extended(flag, size)
        else:
            self._open_member(block, "0" if flag in ("\0", "0", "7") else flag, size)

    def _open_extended(self, flag: str, size: int) -> None:
        alone = flag in ("x", "g") or "x" in self._stacked  # only the two GNU long names go together
        if size > _MAX_EXTENDED or flag in self._stacked or (self._stacked and alone):
            self._report.refuse("S-06", "extended headers are stacked or too long.")
        if flag != "g":
            self._stacked.add(flag)
        body = bytearray()

        def done() -> None:
            if flag in ("x", "g"):
                self._pax(bytes(body), flag)
            else:
                self._extended[_EXTENDED[flag]] = self._text(bytes(body).rstrip(b"\0"))

        self._expect(size, body, done)

    def _pax(self, body: bytes, flag: str) -> None:
        """Read the lines of a pax header: `LENGTH KEY=VALUE`, the length counting the whole line."""
        seen: set[str] = set()
        while body:
            digits, _, _rest = body.partition(b" ")
            length = int(digits) if digits.isdigit() and len(digits) < 10 else 0
            whole = length <= len(body)
            record, body = body[len(digits) + 1 : length], body[length:]
            key, equals, value = record[:-1].partition(b"=")
            name = self._text(key)
            if not whole or not equals or record[-1:] != b"\n" or name in seen:
                self._report.refuse("S-06", "a pax header is malformed or gives a value twice.")
            seen.add(name)
            if name.startswith("GNU.sparse"):
                self._report.refuse("S-04", "the archive holds a sparse file.")
            if name in ("path", "linkpath", "size", "hdrcharset"):
                if flag == "g" or name == "hdrcharset" or name in self._extended:
                    self._report.refuse("S-06", f"a pax header changes {name} in a way readers disagree on.")
                self._extended[name] = self._text(value)

    def _open_member(self, block: bytes, kind: str, size: int) -> None:
        extended, self._extended = self._extended, {}
        self._stacked = set()
        name = extended.get("path") or self._ustar_name(block)
        target = extended.get("linkpath") or self._text(_cut(block[157:257]))
        if "size" in extended and extended["size"] != str(size):
            self._report.refuse("S-06", "a pax header gives another size than the header it extends.", name)
        if kind not in (_FILE, _FOLDER, _LINK, _SYMLINK):
            self._report.refuse("S-04", "the member is a device, pipe, sparse file or of unknown type.", name)
        if kind != _FILE and size:
            self._report.refuse("S-04", "a folder or link has content.", name)
        if kind == _FILE and name.endswith("/"):
            self._report.refuse("S-02", "a file is named as a folder.", name)
        name = name.removesuffix("/")
        problem = path_problem(name)
        if problem:
            self._report.refuse("S-05", f"the name of a member {problem}.", name)
        member = TarMember(name, kind, size, target)
        self._budget.member(name)
        self.members.append(member)
        most = self._wanted(name) if kind == _FILE else None
        if most is not None and size > most:
            self._report.refuse("S-03", f"the file is larger than {most} bytes.", name)
        sink = bytearray() if most is not None else None

        def done() -> None:
            if sink is not None:
                self.kept[name] = bytes(sink)

        self._expect(size, sink, done)

    def _expect(self, size: int, sink: bytearray | None, done: Callable[[], None]) -> None:
        self._content, self._sink = size, sink
        self._left = -(-size // _BLOCK) * _BLOCK
        if self._left:
            self._done = done
        else:
            done()

    def _ustar_name(self, block: bytes) -> str:
        prefix = _cut(block[345:500]) if block[257:263] == b"ustar\0" else b""
        return self._text(prefix + b"/" + _cut(block[:100]) if prefix else _cut(block[:100]))

    def _text(self, raw: bytes) -> str:
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            self._report.refuse("S-05", "a name is not UTF-8.", repr(raw[:200]))


def check_links(members: list[TarMember], root: str, once: set[str], report: Report) -> None:
    """Links stay inside `root`, nothing is written through one, and no name has two meanings.

    Of two members with one name the later one is unpacked by every reader; those in `once` may not be
    doubled at all.

    Raises:
        InvalidInput: S-04, S-05.
    """
    links = {member.name for member in members if member.kind in (_LINK, _SYMLINK)}
    seen: set[str] = set()
    for member in members:
        if member.name in seen:
            refuse = report.refuse if member.name in once or member.kind != _FILE else report.judge
            refuse("S-05", "two members have the same name.", member.name)
        seen.add(member.name)
        parts = member.name.split("/")
        if any("/".join(parts[:depth]) in links for depth in range(1, len(parts))):
            report.refuse("S-04", "a member lies behind a link.", member.name)
        if member.kind in (_LINK, _SYMLINK):
            base = posixpath.dirname(member.name) if member.kind == _SYMLINK else ""
            target = posixpath.normpath(posixpath.join(base, member.target))
            if not member.target or "\\" in member.target or not f"{target}/".startswith(f"{root}/"):
                report.refuse("S-04", "a link leads out of the tree.", member.name)


def _cut(field: bytes) -> bytes:
    return field.split(b"\0")[0]


def _number(field: bytes) -> int | None:
    """An octal number field, padded with NULs and blanks; None for any other form."""
    digits = field.strip(b"\0 ")
    return int(digits, 8) if digits and all(48 <= digit < 56 for digit in digits) else None
