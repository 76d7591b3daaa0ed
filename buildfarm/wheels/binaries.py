"""Machine code in a wheel: what it is, and whether it keeps what the tags promise (E-01 to E-06)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import IO, Literal

from buildfarm.wheels.elf import ElfFacts, NotReadable, read_elf
from buildfarm.wheels.foreign import macho_slices, pe_platform
from buildfarm.wheels.names import FileName
from buildfarm.wheels.platforms import policy_for, stable_since
from buildfarm.wheels.rules import Report, shown

Kind = Literal["ELF", "PE", "Mach-O"]

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
_MACOS = re.compile(r"macosx_(\d+)_(\d+)_(\w+)")
_FAT_MACHINES = {
    "universal2": ("x86_64", "arm64"),
    "intel": ("i386", "x86_64"),
    "universal": ("i386", "ppc", "ppc64", "x86_64"),
    "fat": ("i386", "ppc"),
    "fat3": ("i386", "ppc", "x86_64"),
    "fat32": ("i386", "ppc"),
    "fat64": ("ppc64", "x86_64"),
}
#: How the platform tags start whose Python loads a kind of code.
_PREFIXES: dict[Kind, tuple[str, ...]] = {
    "ELF": ("linux", "manylinux", "musllinux"),
    "PE": ("win",),
    "Mach-O": ("macosx",),
}
_FIRST_ARM_MACOS = (11, 0)
#: musl's libc by its own names, and as the repair renames what it puts into a wheel.
_MUSL = re.compile(r"libc(?:-[0-9a-f]{8})?\.(?:so|musl-.+)|ld-musl-.+")
_C_API = re.compile(r"_?Py[A-Z_]")
#: The part of the platform tag, the ELF machine, class and byte order it stands for.
_MACHINES = {
    "x86_64": (62, 64, True),
    "i686": (3, 32, True),
    "aarch64": (183, 64, True),
    "armv7l": (40, 32, True),
    "ppc64le": (21, 64, True),
    "ppc64": (21, 64, False),
    "s390x": (22, 64, False),
    "riscv64": (243, 64, True),
    "loongarch64": (258, 64, True),
}
#: What extension suffixes call an architecture (PEP 3149, Debian multiarch tuples), and the tags.
_TUPLES = {"i386": "i686", "arm": "armv7l", "powerpc64": "ppc64", "powerpc64le": "ppc64le"}
_HOSTS = {machine for machine, _class, _order in _MACHINES.values()}
_SUFFIX = re.compile(
    r"\.(?P<python>cpython-\d+t?|abi3t?|pypy\d+-pp\d+)[dmu]*(?:-(?P<arch>\w+)-linux-(?P<libc>gnu|musl)\w*)?\.so$"
)


def kind_of(first: bytes, path: str) -> Kind | None:
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


@dataclass
class Code:
    """The machine code of a wheel by member: its kind, and what was read of it while it went by."""

    kinds: dict[str, Kind] = field(default_factory=dict)
    elves: dict[str, ElfFacts] = field(default_factory=dict)

    def read(self, path: str, kind: Kind, file: IO[bytes], name: FileName, report: Report) -> None:
        """Note a member; `file` holds its bytes.

        Raises:
            InvalidInput: E-02, E-06.
        """
        self.kinds[path] = kind
        try:
            if kind == "ELF":
                self.elves[path] = read_elf(file)
            elif is_module(path):
                check = _check_pe if kind == "PE" else _check_macho
                check(file, path, name, report)
        except NotReadable:
            # Test suites hold broken programs on purpose; a module is there to be imported.
            if any(platform.startswith(_PREFIXES[kind]) for platform in name.platforms):
                rule = "E-02" if kind == "ELF" else "E-06"
                say = report.judge if is_module(path) else report.note
                say(rule, f"the file starts as {kind} but cannot be read.", path)


def check_code(code: Code, members: Iterable[str], name: FileName, report: Report) -> None:
    """Hold the code of a wheel against its platform tags, every Linux tag on its own.

    Raises:
        InvalidInput: E-01 to E-05.
    """
    if "any" in name.platforms:
        for path, kind in code.kinds.items():
            report.judge("E-01", f"the wheel is for any platform but holds machine code ({kind}).", path)
    linux = _linux(name)
    if not linux:
        return
    inside = {PurePosixPath(member).name for member in members}
    for path, facts in code.elves.items():
        if facts.machine not in _HOSTS and not is_module(path):
            continue  # code for a graphics card or a kernel, which is data to the host
        for family, floor, arch in linux:
            if facts.is_program and _MACHINES.get(arch) != (facts.machine, facts.bits, facts.little_endian):
                report.judge("E-02", f"machine code number {facts.machine} in a wheel for {arch}.", path)
            _check_suffix(path, family, arch, name, report)
            if family:
                _check_policy(facts, path, inside, family, floor, arch, report)
        _check_stable(facts, path, name, report)
        _check_hardening(facts, path, report)


def _linux(name: FileName) -> list[tuple[str | None, tuple[int, int], str]]:
    """Family (None for this machine's Linux), version and architecture of each Linux tag."""
    found = [_LINUX.fullmatch(_modern(platform)) for platform in sorted(name.platforms)]
    return [
        (match[1], (int(match[2] or 0), int(match[3] or 0)), match[4]) for match in found if match is not None
    ]


def _modern(platform: str) -> str:
    for old, new in _LEGACY.items():
        if platform.startswith(old):
            return new + platform.removeprefix(old)
    return platform


def _check_policy(
    facts: ElfFacts,
    path: str,
    inside: set[str],
    family: str,
    floor: tuple[int, int],
    arch: str,
    report: Report,
) -> None:
    glibc = "libc.so.6" in facts.needed or any(version.startswith("GLIBC_") for _, version in facts.versions)
    musl = any(_MUSL.fullmatch(library) for library in facts.needed)
    if musl if family == "manylinux" else glibc:
        report.judge("E-03", f"the file needs {'musl' if musl else 'glibc'}, the tag is {family}.", path)
    policy = policy_for(family, floor)
    if policy is None:
        return
    tag = f"{family}_{floor[0]}_{floor[1]}"
    for library, version in sorted(facts.versions):
        if library not in inside and not policy.allows_version(arch, version, floor):
            report.judge("E-03", f"the file needs {shown(version)}, {tag} does not promise it.", path)
    for library in sorted(facts.needed - inside):
        if not policy.allows_library(library):
            report.note(
                "E-03", f"the file needs {shown(library)}, not in the wheel nor promised by {tag}.", path
            )


def _check_stable(facts: ElfFacts, path: str, name: FileName, report: Report) -> None:
    """A module for the stable ABI asks for nothing else of Python, and nothing newer than its tag."""
    oldest = [_version(tag.interpreter) for tag in name.tags if tag.abi == "abi3"]
    if not is_module(path) or not (path.endswith(".abi3.so") or oldest):
        return
    if not oldest:  # named for the stable ABI in a wheel for one Python: that Python has its own
        oldest = [_version(tag.interpreter) for tag in name.tags]
    floor = min((version for version in oldest if version), default=None)
    for symbol in sorted(facts.asked):
        since = stable_since(symbol)
        if since is None and _C_API.match(symbol):
            report.judge("E-04", f"{shown(symbol)} is not in the stable ABI.", path)
        elif since is not None and floor is not None and since > floor:
            needs = f"{since[0]}.{since[1]}"
            report.judge("E-04", f"{shown(symbol)} needs Python {needs}, the tag promises less.", path)


def _version(interpreter: str) -> tuple[int, int] | None:
    match = re.fullmatch(r"cp(\d)(\d+)", interpreter)
    return (int(match[1]), int(match[2])) if match else None


def _check_pe(file: IO[bytes], path: str, name: FileName, report: Report) -> None:
    wanted = {platform for platform in name.platforms if platform.startswith("win")}
    found = pe_platform(file)
    if wanted and found not in wanted:
        report.judge("E-06", f"the module is for {found}, the tag for {', '.join(sorted(wanted))}.", path)


def _check_macho(file: IO[bytes], path: str, name: FileName, report: Report) -> None:
    slices = macho_slices(file)
    for platform in sorted(name.platforms):
        match = _MACOS.fullmatch(platform)
        if match is None:
            continue
        floor, arch = (int(match[1]), int(match[2])), match[3]
        for machine in _FAT_MACHINES.get(arch, (arch,)):
            if machine not in slices:
                report.judge("E-06", f"the module has no code for {machine}, the tag is {platform}.", path)
                continue
            oldest = slices[machine]
            runs_on = max(floor, _FIRST_ARM_MACOS) if machine == "arm64" else floor
            if oldest is not None and oldest > runs_on:
                needs = ".".join(map(str, oldest))
                report.judge("E-06", f"the module needs macOS {needs}, the tag is {platform}.", path)


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
