"""What reads and judges files beside the rules: stored with each result, to tell later what it rests on."""

from __future__ import annotations

import functools
import platform
import zlib
from importlib.metadata import version

#: Libraries whose version can change a verdict: metadata and tags, manylinux policies, the stable ABI.
_LIBRARIES = ("abi3info", "auditwheel", "packaging")


@functools.cache
def tools() -> dict[str, str]:
    """Version by name; not to be changed by the caller."""
    libraries = {name: version(name) for name in _LIBRARIES}
    return {"python": platform.python_version(), "zlib": zlib.ZLIB_RUNTIME_VERSION} | libraries
