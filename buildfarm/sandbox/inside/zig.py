"""zig in the place of the image's compilers, where the image has it (docker/zig-images.sh).

What it is told by variables is for the build backend alone: under those that name another machine, an
installer would take that machine's wheels into the build's own environment.
"""

from __future__ import annotations

import os
import shutil

_HOME = "/opt/_internal/zig"
_CACHE = "/work/zig"


def prepare() -> None:
    """A cache that zig can write on to, with what it made of its run-time libraries in the image."""
    if os.path.isdir(f"{_HOME}/cache"):
        shutil.copytree(f"{_HOME}/cache", _CACHE)


def variables() -> dict[str, str]:
    """What a build backend is told of its compilers; nothing in an image without zig."""
    try:
        with open(f"{_HOME}/environment", encoding="utf-8") as file:
            told = dict(line.rstrip("\n").split("=", 1) for line in file)
    except FileNotFoundError:
        return {}
    return {**told, "ZIG_GLOBAL_CACHE_DIR": _CACHE, "ZIG_LOCAL_CACHE_DIR": f"{_CACHE}/local"}


def compilers() -> dict[str, str]:
    """The same without what makes Python speak of another machine."""
    return {name: value for name, value in variables().items() if not name.startswith("_PYTHON")}
