"""Whether a wheel says what the source archive of its release says (M-11).

Source: PEP 643. From metadata 2.2 on, a field that an sdist does not name as Dynamic is the same in every
wheel that is built from it; one that is absent there is absent here. Name and version hold by being of one
release.
"""

from __future__ import annotations

from collections.abc import Hashable

from packaging.metadata import RawMetadata, parse_email
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from buildfarm.wheels.facts import Finding
from buildfarm.wheels.names import normalise
from buildfarm.wheels.rules import RULES

RULE = RULES["M-11"].id
_SINCE = Version("2.2")


def disagreements(wheel: bytes, sdist: bytes) -> list[Finding]:
    """What METADATA of a wheel says otherwise than the static fields of PKG-INFO; both were validated."""
    here, there = parse_email(wheel)[0], parse_email(sdist)[0]
    if not _is_static(there.get("metadata_version", "")):
        return []
    dynamic = {field.lower() for field in there.get("dynamic", ())}
    pairs = zip(_fields(here).items(), _fields(there).values(), strict=True)
    return [
        Finding(RULE, f"{field} is not what the source archive says, where it is not dynamic.")
        for (field, ours), theirs in pairs
        if field.lower() not in dynamic and ours != theirs
    ]


def _is_static(metadata_version: str) -> bool:
    try:
        return Version(metadata_version) >= _SINCE
    except ValueError:  # an operator may waive that it is one
        return False


def _fields(raw: RawMetadata) -> dict[str, Hashable]:
    """The fields that installers decide by, so that spelling and order make no difference."""
    return {
        "Requires-Python": _specifiers(raw.get("requires_python", "")),
        "Requires-Dist": frozenset(map(_requirement, raw.get("requires_dist", ()))),
        "Provides-Extra": frozenset(map(normalise, raw.get("provides_extra", ()))),
    }


def _specifiers(text: str) -> Hashable:
    try:
        return frozenset(map(str, SpecifierSet(text)))
    except ValueError:
        return text


def _requirement(text: str) -> Hashable:
    try:
        return Requirement(text)
    except (ValueError, RecursionError):
        return text
