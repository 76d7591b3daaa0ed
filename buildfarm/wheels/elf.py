"""ELF files, read for what a platform tag promises: machine, libraries needed, versions, search path.

Only the program headers are believed, as the loader does; section headers can be stripped or forged.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from elftools.elf.elffile import ELFFile

_GLIBC = re.compile(r"GLIBC_(\d+)\.(\d+)(?:\.\d+)?")
_MOST_ENTRIES = 4096  # of one table; a real library has hundreds
_MOST_TEXT = 4096  # bytes of one string
_TEXT_RELOCATIONS = 4  # DF_TEXTREL in DT_FLAGS


class NotReadable(Exception):
    """The bytes start as ELF and cannot be read as such."""


@dataclass(frozen=True)
class ElfFacts:
    """What one ELF file is and needs. `glibc` is the highest version its symbols ask for."""

    machine: str
    bits: int
    little_endian: bool
    is_program: bool
    needed: frozenset[str]
    glibc: tuple[int, int] | None
    search_path: tuple[str, ...]
    executable_stack: bool
    text_relocations: bool


def read_elf(file: IO[bytes]) -> ElfFacts:
    """Read an ELF file.

    Raises:
        NotReadable: the file is damaged, or larger in its tables than any real one.
    """
    try:
        elf = ELFFile(file)
        elf.header["e_shoff"] = 0  # there is no section table: its forged lengths cost nothing
        return _read(elf)
    except Exception as error:  # pyelftools lets through whatever its parser trips over
        raise NotReadable(str(error)) from error


def _read(elf: ELFFile) -> ElfFacts:
    dynamic: list[tuple[str, int]] = []
    executable_stack = False
    if elf["e_phnum"] > _MOST_ENTRIES:
        raise NotReadable("too many segments")
    for segment in elf.iter_segments():
        if segment["p_type"] == "PT_GNU_STACK":
            executable_stack = bool(segment["p_flags"] & 1)
        if segment["p_type"] == "PT_DYNAMIC" and segment["p_filesz"]:
            dynamic += _dynamic(elf, segment["p_offset"])
    strings = _offset(elf, dynamic, "DT_STRTAB")
    texts = {
        kind: [_text(elf, strings, value) for tag, value in dynamic if tag == kind]
        for kind in ("DT_NEEDED", "DT_RPATH", "DT_RUNPATH")
    }
    return ElfFacts(
        machine=str(elf["e_machine"]),
        bits=elf.elfclass,
        little_endian=elf.little_endian,
        is_program=elf["e_type"] in ("ET_DYN", "ET_EXEC"),
        needed=frozenset(texts["DT_NEEDED"]),
        glibc=max(_glibc_versions(elf, _offset(elf, dynamic, "DT_VERNEED"), strings), default=None),
        search_path=tuple(
            part for text in texts["DT_RPATH"] + texts["DT_RUNPATH"] for part in text.split(":") if part
        ),
        executable_stack=executable_stack,
        text_relocations=any(
            tag == "DT_TEXTREL" or (tag == "DT_FLAGS" and value & _TEXT_RELOCATIONS) for tag, value in dynamic
        ),
    )


def _dynamic(elf: ELFFile, offset: int) -> Iterator[tuple[str, int]]:
    elf.stream.seek(offset)
    for _ in range(_MOST_ENTRIES):
        entry = elf.structs.Elf_Dyn.parse_stream(elf.stream)
        if entry.d_tag == "DT_NULL":
            return
        yield str(entry.d_tag), entry.d_val
    raise NotReadable("too many dynamic entries")


def _offset(elf: ELFFile, dynamic: list[tuple[str, int]], tag: str) -> int | None:
    """Where in the file the table lies whose address `tag` gives."""
    address = next((value for kind, value in dynamic if kind == tag), None)
    return None if address is None else next(elf.address_offsets(address), None)


def _text(elf: ELFFile, strings: int | None, at: int) -> str:
    if strings is None:
        raise NotReadable("no string table")
    elf.stream.seek(strings + at)
    return elf.stream.read(_MOST_TEXT).split(b"\0")[0].decode("utf-8", "backslashreplace")


def _glibc_versions(elf: ELFFile, offset: int | None, strings: int | None) -> Iterator[tuple[int, int]]:
    """The GLIBC versions in the table of needed versions (LSB 5, part 10.7.2)."""
    entries = 0
    while offset is not None:
        elf.stream.seek(offset)
        library = elf.structs.Elf_Verneed.parse_stream(elf.stream)
        inner = offset + library.vn_aux
        for _ in range(library.vn_cnt):
            entries += 1
            if entries > _MOST_ENTRIES:
                raise NotReadable("too many needed versions")
            elf.stream.seek(inner)
            version = elf.structs.Elf_Vernaux.parse_stream(elf.stream)
            if match := _GLIBC.fullmatch(_text(elf, strings, version.vna_name)):
                yield int(match[1]), int(match[2])
            inner += version.vna_next
        entries += 1
        offset = offset + library.vn_next if library.vn_next and entries <= _MOST_ENTRIES else None
