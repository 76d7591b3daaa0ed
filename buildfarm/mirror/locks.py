"""What a project needs, read from the lock files that clients write: requirements.txt, uv.lock, pylock.toml.

Pure; the file's format is told by its content. Source: pip's requirements file format, PEP 508,
PEP 751 (pylock.toml), uv's lock file version 1.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from packaging.pylock import Pylock, PylockValidationError
from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from buildfarm.errors import InvalidInput

_HASH = re.compile(r"--hash[= ]\s*sha256:([0-9a-fA-F]{64})", re.ASCII)
_OPTION = re.compile(r"\s--?[a-zA-Z]")
_COMMENT = re.compile(r"(^|\s)#.*$")
_CONTINUED = re.compile(r"\\\s*\n")


@dataclass(frozen=True)
class Wanted:
    """Files of one project: the ones with these digests, or else all of the newest version that fits."""

    project: str
    specifier: SpecifierSet
    sha256: frozenset[str] = field(default_factory=frozenset)


def parse(text: str) -> list[Wanted]:
    """The wanted files of a lock file or of a list of requirements.

    What comes from elsewhere than an index (a repository, a folder, a URL) is passed over.

    Raises:
        InvalidInput: `lock.syntax`, the sentence has the line or the package.
    """
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return list(_requirements(text))
    if "lock-version" in data:
        return list(_pylock(data))
    if isinstance(data.get("package"), list):
        return list(_uv_lock(data["package"]))
    if data:
        raise InvalidInput("This TOML is neither a uv.lock nor a pylock.toml.", code="lock.syntax")
    return []


def _requirements(text: str) -> Iterator[Wanted]:
    for line in _CONTINUED.sub(" ", text).splitlines():
        bare = _COMMENT.sub("", line).strip()
        if not bare or bare.startswith("-"):
            continue
        digests = frozenset(digest.lower() for digest in _HASH.findall(bare))
        try:
            requirement = Requirement(_OPTION.split(bare, maxsplit=1)[0])
        except InvalidRequirement as err:
            raise InvalidInput(f"{bare[:100]!r} is no requirement.", code="lock.syntax") from err
        if not requirement.url:
            yield Wanted(canonicalize_name(requirement.name), requirement.specifier, digests)


def _pylock(data: dict[str, Any]) -> Iterator[Wanted]:
    try:
        lock = Pylock.from_dict(data)
    except (PylockValidationError, ValueError) as err:
        raise InvalidInput(f"The pylock.toml does not follow PEP 751: {err}.", code="lock.syntax") from err
    for package in lock.packages:
        files = [*(package.wheels or ()), *((package.sdist,) if package.sdist else ())]
        digests = frozenset(file.hashes["sha256"].lower() for file in files if "sha256" in file.hashes)
        if files and package.version:
            yield Wanted(package.name, SpecifierSet(f"=={package.version}"), digests)


def _uv_lock(packages: Iterable[Any]) -> Iterator[Wanted]:
    for package in packages:
        try:
            if "registry" not in package["source"]:
                continue
            files = [*package.get("wheels", ()), *((package["sdist"],) if "sdist" in package else ())]
            digests = frozenset(
                file["hash"].removeprefix("sha256:").lower()
                for file in files
                if file.get("hash", "").startswith("sha256:")
            )
            yield Wanted(
                canonicalize_name(package["name"], validate=True),
                SpecifierSet(f"=={package['version']}"),
                digests,
            )
        except (KeyError, TypeError, ValueError, AttributeError) as err:
            raise InvalidInput("A package of the uv.lock cannot be read.", code="lock.syntax") from err
