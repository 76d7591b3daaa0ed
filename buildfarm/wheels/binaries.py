"""Machine code in a wheel: what it is, and whether it keeps what the tags promise (E-01 to E-05)."""

from __future__ import annotations

import re
from typing import IO, Literal

from buildfarm.wheels.elf import ElfFacts, NotReadable, read_elf
from buildfarm.wheels.names import FileName
from buildfarm.wheels.rules import Report, shown

Code = Literal["ELF", "PE", "Mach-O"]

_MODULE = re.compile(r"\.(?:so|pyd)$")
_LIBRARY = re.compile(r"\.(?:so(?:\.\d+)*|pyd|dll|dylib)$", re.IGNORECASE)
_MACH_O = {bytes.fromhex(magic) for magic in ("feedface", "feedfacf", "cefaedfe", "cffaedfe")}
_FAT = bytes.fromhex("cafebabe")  # a Java class file starts alike
_LINUX = re.compile(r"(?:(manylinux|musllinux)_(\d+)_(\d+)|linux)_(\w+)")
_LEGACY = {
    "manylinux1_": "manylinux_2_5_",
    "manylinux2010_": "manylinux_2_12_",
    "manylinux2014_": "manylinux_2_17_",
}
#: The part of the platform tag, the ELF machine, class and byte order it stands for.
_MACHINES = {
    "x86_64": ("EM_X86_64", 64, True),
    "i686": ("EM_386", 32, True),
    "aarch64": ("EM_AARCH64", 64, True),
    "armv7l": ("EM_ARM", 32, True),
    "ppc64le": ("EM_PPC64", 64, True),
    "ppc64": ("EM_PPC64", 64, False),
    "s390x": ("EM_S390", 64, False),
    "riscv64": ("EM_RISCV", 64, True),
    "loongarch64": ("EM_LOONGARCH", 64, True),
}
#: What extension suffixes call an architecture (PEP 3149, Debian multiarch tuples), and the tags.
_TUPLES = {"i386": "i686", "arm": "armv7l", "powerpc64": "ppc64", "powerpc64le": "ppc64le"}
_HOSTS = {machine for machine, _class, _order in _MACHINES.values()}
_SUFFIX = re.compile(
    r"\.(?P<python>cpython-\d+t?|abi3t?|pypy\d+-pp\d+)[dmu]*(?:-(?P<arch>\w+)-linux-(?P<libc>gnu|musl)\w*)?\.so$"
)


def kind_of(first: bytes, path: str) -> Code | None:
    """Which kind of machine code a member starts as, from its first bytes.

    Windows programs count only as libraries: pure wheels ship script launchers.
    """
    if first.startswith(b"\x7fELF"):
        return "ELF"
    if first[:4] in _MACH_O or (first.startswith(_FAT) and _LIBRARY.search(path)):
        return "Mach-O"
    return "PE" if first.startswith(b"MZ") and _LIBRARY.search(path) else None


def is_module(path: str) -> bool:
    """Whether Python could import this file as an extension module."""
    return bool(_MODULE.search(path))


def check_presence(code: dict[str, str], name: FileName, report: Report) -> None:
    """Refuse machine code in a wheel that is for any platform (E-01).

    Raises:
        InvalidInput: E-01.
    """
    if "any" in name.platforms:
        for path, kind in code.items():
            report.judge("E-01", f"the wheel is for any platform but holds machine code ({kind}).", path)


def check_elf(file: IO[bytes], path: str, name: FileName, report: Report) -> None:
    """Hold one ELF file against every Linux platform tag of the wheel.

    Raises:
        InvalidInput: E-02 to E-05.
    """
    platforms = [_LINUX.fullmatch(_modern(platform)) for platform in sorted(name.platforms)]
    linux = [platform for platform in platforms if platform is not None]
    if not linux:
        return
    try:
        facts = read_elf(file)
    except NotReadable:
        if is_module(path):
            report.judge("E-02", "the extension module cannot be read as ELF.", path)
        else:
            report.note("E-02", "the file starts as ELF but cannot be read.", path)
        return
    if facts.machine not in _HOSTS and not is_module(path):
        return  # code for a graphics card or a kernel, which is data to the host
    for platform in linux:
        family, major, minor, arch = platform.groups()
        if facts.is_program and _MACHINES.get(arch) != (facts.machine, facts.bits, facts.little_endian):
            report.judge("E-02", f"machine code for {shown(facts.machine)} in a wheel for {arch}.", path)
        _check_suffix(path, family, arch, name, report)
        if family:
            _check_libc(facts, path, family, (int(major), int(minor)), report)
    _check_hardening(facts, path, report)


def _modern(platform: str) -> str:
    for old, new in _LEGACY.items():
        if platform.startswith(old):
            return new + platform.removeprefix(old)
    return platform


def _check_libc(facts: ElfFacts, path: str, family: str, floor: tuple[int, int], report: Report) -> None:
    glibc = "libc.so.6" in facts.needed or facts.glibc is not None
    musl = any(library == "libc.so" or library.startswith("libc.musl-") for library in facts.needed)
    if musl if family == "manylinux" else glibc:
        report.judge("E-03", f"the file needs {'musl' if musl else 'glibc'}, the tag is {family}.", path)
    if family == "manylinux" and facts.glibc is not None and facts.glibc > floor:
        needs, has = (".".join(map(str, version)) for version in (facts.glibc, floor))
        report.judge("E-03", f"the file needs glibc {needs}, the tag promises {has}.", path)


def _check_suffix(path: str, family: str | None, arch: str, name: FileName, report: Report) -> None:
    suffix = _SUFFIX.search(path)
    if suffix is None:
        return
    libc = {"manylinux": "gnu", "musllinux": "musl"}.get(family or "")
    if suffix["arch"] and _TUPLES.get(suffix["arch"], suffix["arch"]) != arch:
        report.judge("E-04", f"the module's name is for {suffix['arch']}, the tag for {arch}.", path)
    # Older CPythons on musl call their modules `gnu` as well; no CPython on glibc looks for `musl`.
    if suffix["libc"] == "musl" and libc == "gnu":
        report.judge("E-04", "the module's name is for musl, the tag for glibc.", path)
    if not any(_importable(suffix["python"], tag.interpreter, tag.abi) for tag in name.tags):
        report.judge("E-04", f"no Python of the tags imports a module named for {suffix['python']}.", path)


def _importable(python: str, interpreter: str, abi: str) -> bool:
    """Whether a Python of the tag loads a module whose suffix starts with `python`."""
    if abi == "none" or not interpreter.startswith(("cp", "pp")):
        return True
    if python.startswith("cpython-"):
        version = python.removeprefix("cpython-")
        return interpreter == f"cp{version.rstrip('t')}" and abi.rstrip("dmu") == f"cp{version}"
    if python.startswith("pypy"):
        return interpreter.startswith("pp") and python.startswith(f"pypy{interpreter.removeprefix('pp')}-")
    return interpreter.startswith("cp")


def _check_hardening(facts: ElfFacts, path: str, report: Report) -> None:
    for folder in facts.search_path:
        if folder.split("/")[0] not in ("$ORIGIN", "${ORIGIN}"):
            report.judge("E-05", f"libraries would be searched in {shown(folder)}, outside the wheel.", path)
    if facts.executable_stack:
        report.judge("E-05", "the file asks for an executable stack.", path)
    if facts.text_relocations:
        report.judge("E-05", "the file relocates its own code.", path)
