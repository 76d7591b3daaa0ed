"""What a platform or ABI tag allows machine code to need: auditwheel's policies, CPython's stable ABI.

Both lists are data of other packages and grow with them; of auditwheel only the policy files are read.
"""

from __future__ import annotations

import importlib.util
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from abi3info import DATAS, FUNCTIONS

#: Loaders are named by a program, not chosen by it.
_LOADERS = ("ld-linux", "ld64.so", "ld-musl")


@dataclass(frozen=True)
class Policy:
    """One manylinux or musllinux policy: libraries of the system, versions by architecture and prefix."""

    floor: tuple[int, int]
    libraries: frozenset[str]
    versions: dict[str, dict[str, frozenset[str]]]

    def allows_library(self, name: str) -> bool:
        """Whether every system of the policy has the library."""
        return name in self.libraries or name.startswith((*_LOADERS, "libc.musl-"))

    def allows_version(self, arch: str, version: str, floor: tuple[int, int]) -> bool:
        """Whether every system of the policy has the symbol version; others than the system's are let be.

        `floor` is the tag's own: a tag between two policies is held to the older one but for the C
        library itself.
        """
        prefix, _, number = version.partition("_")
        known = self.versions.get(arch, {}).get(prefix)
        if known is None or number in known:
            return True
        parts = number.split(".")
        is_number = prefix == "GLIBC" and len(parts) > 1 and all(part.isdigit() for part in parts)
        return is_number and (int(parts[0]), int(parts[1])) <= floor


def policy_for(family: str, floor: tuple[int, int]) -> Policy | None:
    """The newest policy of a family (`manylinux`, `musllinux`) that a tag's version covers."""
    fitting = [policy for policy in _policies(family) if policy.floor <= floor]
    return max(fitting, key=lambda policy: policy.floor, default=None)


def stable_since(symbol: str) -> tuple[int, int] | None:
    """The Python whose stable ABI got the symbol, or None when it is not in it (PEP 384)."""
    return _stable().get(symbol)


def load() -> None:
    """Read all lists now, in a process to which their files will be closed."""
    _stable()
    for family in ("manylinux", "musllinux"):
        _policies(family)


@cache
def _stable() -> dict[str, tuple[int, int]]:
    known = [*FUNCTIONS.values(), *DATAS.values()]
    return {one.symbol.name: (one.added.major, one.added.minor) for one in known}


@cache
def _policies(family: str) -> tuple[Policy, ...]:
    package = importlib.util.find_spec("auditwheel")
    if package is None or package.origin is None:
        raise ImportError("auditwheel")
    rows = json.loads((Path(package.origin).parent / "policy" / f"{family}-policy.json").read_text())
    return tuple(
        Policy(
            floor=(int(row["name"].split("_")[1]), int(row["name"].split("_")[2])),
            libraries=frozenset(row["lib_whitelist"]),
            versions={
                arch: {prefix: frozenset(numbers) for prefix, numbers in versions.items()}
                for arch, versions in row["symbol_versions"].items()
            },
        )
        for row in rows
        if row["name"].startswith(family)
    )
