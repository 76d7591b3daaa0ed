"""Windows and macOS machine code, read for the machine it is for and the oldest system it runs on.

Source: Microsoft's PE format, COFF file header; Apple's mach-o/loader.h and mach-o/fat.h.
"""

from __future__ import annotations

import struct
from typing import IO

from buildfarm.wheels.elf import NotReadable

_PE_MACHINES = {0x14C: "win32", 0x8664: "win_amd64", 0xAA64: "win_arm64", 0x1C4: "win_arm32"}
_CPUS = {7: "i386", 0x1000007: "x86_64", 12: "arm", 0x100000C: "arm64", 18: "ppc", 0x1000012: "ppc64"}
_WIDE = (b"\xcf\xfa\xed\xfe", b"\xfe\xed\xfa\xcf")
_ORDERS = {_WIDE[0]: "<", b"\xce\xfa\xed\xfe": "<", _WIDE[1]: ">", b"\xfe\xed\xfa\xce": ">"}
_FAT = b"\xca\xfe\xba\xbe"
_VERSION_MIN_MACOSX, _BUILD_VERSION, _MACOS = 0x24, 0x32, 1
_MOST_SLICES, _MOST_COMMANDS = 16, 4096


def pe_platform(file: IO[bytes]) -> str:
    """The platform tag that a Windows library is for, `unknown` for another machine.

    Raises:
        NotReadable: the file is damaged.
    """
    try:
        (header,) = struct.unpack("<I", _read(file, 0x3C, 4))
        signature, machine = struct.unpack("<4sH", _read(file, header, 6))
    except struct.error as error:
        raise NotReadable from error
    if signature != b"PE\0\0":
        raise NotReadable
    return _PE_MACHINES.get(machine, "unknown")


def macho_slices(file: IO[bytes]) -> dict[str, tuple[int, int] | None]:
    """Each processor a macOS library has code for, with the oldest macOS it says it runs on.

    Raises:
        NotReadable: the file is damaged.
    """
    try:
        if _read(file, 0, 4) != _FAT:
            return dict([_slice(file, 0)])
        (count,) = struct.unpack(">I", _read(file, 4, 4))
        if not 0 < count <= _MOST_SLICES:
            raise NotReadable
        entries = [struct.unpack(">5I", _read(file, 8 + 20 * index, 20)) for index in range(count)]
        return dict(_slice(file, offset) for _cpu, _subtype, offset, _size, _align in entries)
    except (struct.error, KeyError) as error:
        raise NotReadable from error


def _slice(file: IO[bytes], start: int) -> tuple[str, tuple[int, int] | None]:
    magic = _read(file, start, 4)
    order = _ORDERS[magic]
    cpu, _subtype, _kind, count, _size = struct.unpack(order + "5I", _read(file, start + 4, 20))
    at = start + (32 if magic in _WIDE else 28)
    oldest = None
    for _ in range(min(count, _MOST_COMMANDS)):
        command, length, first, second = struct.unpack(order + "4I", _read(file, at, 16))
        if command == _VERSION_MIN_MACOSX:
            oldest = first >> 16, first >> 8 & 0xFF
        elif command == _BUILD_VERSION and first == _MACOS:
            oldest = second >> 16, second >> 8 & 0xFF
        at += length
    return _CPUS.get(cpu, "unknown"), oldest


def _read(file: IO[bytes], at: int, count: int) -> bytes:
    file.seek(at)
    return file.read(count)
