"""File names: what a wheel or sdist says about itself before a byte is read (rules N-01 to N-07)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import prod
from typing import Literal

from packaging.tags import Tag
from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    canonicalize_name,
    parse_sdist_filename,
    parse_wheel_filename,
)
from packaging.version import Version

from buildfarm.wheels.rules import Report, shown

_NAME = re.compile(r"[A-Za-z0-9]|[A-Za-z0-9][A-Za-z0-9._-]*[A-Za-z0-9]")
_MAX_TAGS = 1000
_PLATFORM = re.compile(
    r"any"
    r"|manylinux(?:1|2010)_(?:x86_64|i686)"
    r"|manylinux2014_(?:x86_64|i686|aarch64|armv7l|ppc64|ppc64le|s390x)"
    r"|(?:manylinux|musllinux)_\d+_\d+_(?:x86_64|i686|aarch64|armv7l|ppc64|ppc64le|s390x|riscv64|loongarch64)"
    r"|macosx_10_\d+_(?:i386|ppc|ppc64|x86_64|intel|fat|fat3|fat32|fat64|universal|universal2|arm64)"
    r"|macosx_(?:1[1-9]|[2-9]\d)_\d+_(?:x86_64|universal2|arm64)"
    r"|win32|win_(?:amd64|arm64|arm32|ia64)"
    r"|ios_\d+_\d+_(?:arm64|x86_64)_(?:iphoneos|iphonesimulator)"
    r"|android_\d+_(?:arm64_v8a|armeabi_v7a|x86|x86_64)"
    r"|(?:py)?emscripten_\d+_\d+(?:_\d+)?_wasm32"
)
_THIS_MACHINE = re.compile(r"linux_\w+")
#: Characters that people take for one another, or do not see.
_LOOKALIKE = str.maketrans({"0": "o", "1": "l", "i": "l", "-": None, "_": None, ".": None})


@dataclass(frozen=True)
class FileName:
    """A parsed file name; `stem` is `{name}-{version}` exactly as it stands in the file name."""

    text: str
    kind: Literal["wheel", "sdist"]
    project: str
    version: Version
    stem: str
    tags: frozenset[Tag] = frozenset()

    @property
    def platforms(self) -> frozenset[str]:
        """The platform tags of a wheel; none for an sdist."""
        return frozenset(tag.platform for tag in self.tags)

    @property
    def is_native(self) -> bool:
        """Whether the file is a wheel for some platform only."""
        return bool(self.platforms - {"any"})


def normalise(name: str) -> str:
    """The one spelling of a project name (PEP 503)."""
    return canonicalize_name(name)


def skeleton(name: str) -> str:
    """What is left of a name for the eye: names with the same skeleton are confusable."""
    return name.lower().translate(_LOOKALIKE)


def parse_filename(filename: str, report: Report) -> FileName:
    """Read a wheel or sdist file name.

    Raises:
        InvalidInput: N-01 to N-05, N-07.
    """
    if not 0 < len(filename) <= 255 or not re.fullmatch(r"[!-.0-\[\]-~]+", filename) or filename[0] == ".":
        report.refuse(
            "N-01", "the file name is empty, too long, or holds characters that file names may not."
        )
    if filename.endswith(".whl"):
        parsed = _wheel(filename, report)
    elif filename.endswith(".tar.gz"):
        parsed = _sdist(filename, report)
    else:
        report.refuse("N-02", f"{shown(filename)} is neither a wheel (.whl) nor a source archive (.tar.gz).")
    if not _NAME.fullmatch(parsed.project):
        report.refuse("N-03", f"{parsed.project} is not a valid project name.")
    if parsed.version.local:
        report.judge("N-06", f"{parsed.version} is a local version.")
    return parsed


def _wheel(filename: str, report: Report) -> FileName:
    if prod(part.count(".") + 1 for part in filename[:-4].split("-")[-3:]) > _MAX_TAGS:
        report.refuse("N-04", f"{shown(filename)} holds too many tags.")
    try:
        project, version, _build, tags = parse_wheel_filename(filename)
    except InvalidWheelFilename:
        report.refuse("N-04", f"{shown(filename)} is not a valid wheel name.")
    name, written = filename.split("-")[:2]
    if name != project.replace("-", "_") or written != str(version).replace("-", "_"):
        report.judge("N-04", f"{shown(filename)} should start with {project.replace('-', '_')}-{version}.")
    parsed = FileName(filename, "wheel", project, version, f"{name}-{written}", tags)
    for platform in sorted(parsed.platforms):
        if _THIS_MACHINE.fullmatch(platform):
            report.judge(
                "N-07", f"{platform} says nothing about the systems it runs on; repair the wheel first."
            )
        elif not _PLATFORM.fullmatch(platform):
            report.judge("N-07", f"{platform} is not a known platform tag.")
    return parsed


def _sdist(filename: str, report: Report) -> FileName:
    try:
        project, version = parse_sdist_filename(filename)
    except InvalidSdistFilename:
        report.refuse("N-05", f"{shown(filename)} is not a valid name of a source archive.")
    stem = filename.removesuffix(".tar.gz")
    wanted = f"{project.replace('-', '_')}-{version}"
    if stem != wanted:
        report.judge("N-05", f"{shown(filename)} should be named {wanted}.tar.gz.")
    return FileName(filename, "sdist", project, version, stem)
