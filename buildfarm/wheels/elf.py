"""ELF files, read for what a platform tag promises: machine, libraries, versions, symbols, search path.

Only the program headers are believed, as the loader does; section headers can be stripped or forged.
Source: System V ABI, chapters 4 and 5; LSB 5, part 10.7 (symbol versions).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

_MOST_ENTRIES = 8192  # of one table; a real library has hundreds
_MOST_SYMBOLS = 1 << 18
_MOST_STRINGS = 1 << 26  # bytes of the string table
_PT_LOAD, _PT_DYNAMIC, _PT_STACK = 1, 2, 0x6474E551
_NEEDED, _HASH, _STRTAB, _SYMTAB, _STRSZ, _RPATH, _TEXTREL, _RUNPATH, _FLAGS = 1, 4, 5, 6, 10, 15, 22, 29, 30
_GNU_HASH, _VERNEED = 0x6FFFFEF5, 0x6FFFFFFE
_TEXT_RELOCATIONS = 4  # DF_TEXTREL in DT_FLAGS
_RELOCATABLE = 1  # ET_REL: an object file, which the loader does not run


class NotReadable(Exception):
    """The bytes start as machine code and cannot be read as such."""


@dataclass(frozen=True)
class ElfFacts:
    """What one ELF file is and needs; `versions` are the pairs of (library, version) its symbols ask for.

    `machine` is the number of the ELF header. `asked` are the names it expects others to define.
    """

    machine: int
    bits: int
    little_endian: bool
    is_program: bool
    needed: frozenset[str] = frozenset()
    versions: frozenset[tuple[str, str]] = frozenset()
    asked: frozenset[str] = frozenset()
    search_path: tuple[str, ...] = ()
    executable_stack: bool = False
    text_relocations: bool = False


def read_elf(file: IO[bytes]) -> ElfFacts:
    """Read an ELF file.

    Raises:
        NotReadable: the file is damaged, or larger in its tables than any real one.
    """
    try:
        return _Reader(file).facts()
    except (struct.error, IndexError, ValueError, OverflowError) as error:
        raise NotReadable(str(error)) from error


class _Reader:
    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        ident = self._bytes(0, 16)
        if ident[:4] != b"\x7fELF" or ident[4] not in (1, 2) or ident[5] not in (1, 2):
            raise NotReadable("no ELF header")
        self._wide, self._order = ident[4] == 2, "<" if ident[5] == 1 else ">"
        self._loads: list[tuple[int, int, int]] = []
        self._strings = b""

    def facts(self) -> ElfFacts:
        kind, machine, _version, _entry, segments_at, _sections, _flags, _size, length, count = self._unpack(
            "HHIQQQIHHH" if self._wide else "HHIIIIIHHH", 16
        )
        if count > _MOST_ENTRIES or length < (56 if self._wide else 32):
            raise NotReadable("no table of segments that a loader takes")
        dynamic: dict[int, list[int]] = {}
        executable_stack = False
        for index in range(count):
            what, flags, offset, address, size = self._segment(segments_at + index * length)
            if what == _PT_STACK:
                executable_stack = bool(flags & 1)
            elif what == _PT_LOAD:
                self._loads.append((address, address + size, offset))
            elif what == _PT_DYNAMIC and size:
                dynamic = self._dynamic(offset)
        strings_at = self._place(dynamic, _STRTAB)
        if strings_at is not None:
            length = min(dynamic.get(_STRSZ, [_MOST_STRINGS])[0], _MOST_STRINGS)
            self._file.seek(strings_at)
            self._strings = self._file.read(length)
        paths = [self._text(at) for tag in (_RPATH, _RUNPATH) for at in dynamic.get(tag, [])]
        return ElfFacts(
            machine=machine,
            bits=64 if self._wide else 32,
            little_endian=self._order == "<",
            is_program=kind != _RELOCATABLE,
            needed=frozenset(self._text(at) for at in dynamic.get(_NEEDED, [])),
            versions=frozenset(self._versions(self._place(dynamic, _VERNEED))),
            asked=frozenset(self._asked(dynamic)),
            search_path=tuple(part for path in paths for part in path.split(":") if part),
            executable_stack=executable_stack,
            text_relocations=_TEXTREL in dynamic or bool(dynamic.get(_FLAGS, [0])[0] & _TEXT_RELOCATIONS),
        )

    def _bytes(self, at: int, count: int) -> bytes:
        self._file.seek(at)
        data = self._file.read(count)
        if len(data) < count:
            raise NotReadable("the file is cut off")
        return data

    def _unpack(self, form: str, at: int) -> tuple[int, ...]:
        form = self._order + form
        return struct.unpack(form, self._bytes(at, struct.calcsize(form)))

    def _segment(self, at: int) -> tuple[int, int, int, int, int]:
        """Kind, flags, offset, address and size in the file of one segment."""
        if self._wide:
            kind, flags, offset, address, _physical, size = self._unpack("IIQQQQ", at)
        else:
            kind, offset, address, _physical, size, _memory, flags = self._unpack("7I", at)
        return kind, flags, offset, address, size

    def _dynamic(self, offset: int) -> dict[int, list[int]]:
        entries: dict[int, list[int]] = {}
        form, length = ("QQ", 16) if self._wide else ("II", 8)
        for index in range(_MOST_ENTRIES):
            tag, value = self._unpack(form, offset + index * length)
            if tag == 0:
                return entries
            entries.setdefault(tag, []).append(value)
        raise NotReadable("too many dynamic entries")

    def _place(self, dynamic: dict[int, list[int]], tag: int) -> int | None:
        """Where in the file the table lies whose address `tag` gives."""
        for address in dynamic.get(tag, [])[:1]:
            for start, end, offset in self._loads:
                if start <= address < end:
                    return offset + address - start
        return None

    def _text(self, at: int) -> str:
        end = self._strings.index(b"\0", at)
        return self._strings[at:end].decode("utf-8", "backslashreplace")

    def _versions(self, at: int | None) -> Iterator[tuple[str, str]]:
        """The table of needed versions (LSB 5, part 10.7.2)."""
        left = _MOST_ENTRIES
        while at is not None:
            _version, count, library, first, following = self._unpack("HHIII", at)
            inner = at + first
            for _ in range(count):
                left -= 1
                if left < 0:
                    raise NotReadable("too many needed versions")
                _hash, _flags, _other, name, step = self._unpack("IHHII", inner)
                yield self._text(library), self._text(name)
                inner += step
            left -= 1
            at = at + following if following and left > 0 else None

    def _asked(self, dynamic: dict[int, list[int]]) -> Iterator[str]:
        """The names of undefined symbols."""
        table, count = self._place(dynamic, _SYMTAB), self._symbols(dynamic)
        if table is None or count == 0:
            return
        length, section_at = (24, 6) if self._wide else (16, 14)
        data = self._bytes(table, count * length)
        for at in range(length, len(data), length):
            name = struct.unpack_from(self._order + "I", data, at)[0]
            if name and data[at + section_at : at + section_at + 2] == b"\0\0":
                yield self._text(name)

    def _symbols(self, dynamic: dict[int, list[int]]) -> int:
        """How many symbols to look at: all, or those before the first one that can be looked up."""
        at = self._place(dynamic, _HASH)
        if at is None:
            at = self._place(dynamic, _GNU_HASH)
        count = 0 if at is None else self._unpack("II", at)[1]  # both tables have it in second place
        if count > _MOST_SYMBOLS:
            raise NotReadable("too many symbols")
        return count
