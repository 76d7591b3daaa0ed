"""Whether a wheel serves a target: an interpreter on the oldest C library that counts. Pure.

Source: PEP 425 (tags), PEP 600 (manylinux_X_Y), PEP 656 (musllinux_X_Y), PEP 703 (free-threaded ABI).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

from packaging.tags import Tag, compatible_tags, cpython_tags

_INTERPRETER = re.compile(r"cp3([0-9]+)(t?)")
_PLATFORM = re.compile(r"((?:many|musl)linux)_([0-9]+)_([0-9]+)_([a-z0-9_]+)")
#: The names that PEP 600 replaced, by the minor version of glibc 2.
_LEGACY = {5: "manylinux1", 12: "manylinux2010", 17: "manylinux2014"}


@lru_cache(maxsize=64)
def tags_of(interpreter: str, platform: str) -> frozenset[Tag]:
    """Every tag that an installer takes: `interpreter` as in cp313t, `platform` as in manylinux_2_28_x86_64.

    Raises:
        ValueError: one of the two is written in another way.
    """
    python = _INTERPRETER.fullmatch(interpreter)
    if python is None:
        raise ValueError(interpreter)
    version, platforms = (3, int(python[1])), list(_platforms(platform))
    return frozenset(
        [
            *cpython_tags(version, [interpreter], platforms),
            *compatible_tags(version, interpreter.removesuffix("t"), platforms),
        ]
    )


def _platforms(newest: str) -> Iterator[str]:
    """A platform and every older one of its kind, whose wheels run on it."""
    parts = _PLATFORM.fullmatch(newest)
    if parts is None:
        raise ValueError(newest)
    kind, major, minor, machine = parts[1], int(parts[2]), int(parts[3]), parts[4]
    for older in range(minor, -1, -1):
        yield f"{kind}_{major}_{older}_{machine}"
        if kind == "manylinux" and major == 2 and older in _LEGACY:
            yield f"{_LEGACY[older]}_{machine}"
