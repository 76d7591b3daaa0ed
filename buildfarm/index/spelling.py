"""The one spelling of names and versions: what counts as the same, and what looks the same. Pure."""

from __future__ import annotations

from packaging.utils import InvalidName, canonicalize_name, canonicalize_version
from packaging.version import InvalidVersion, Version

from buildfarm.errors import InvalidInput

#: Characters that people take for one another, or do not see.
_LOOKALIKE = str.maketrans({"0": "o", "1": "l", "i": "l", "-": None, "_": None, ".": None})


def normal_name(text: str) -> str:
    """The one spelling of a project name (PEP 503).

    Raises:
        InvalidInput: `project.name`, it does not follow the grammar of the name normalisation standard.
    """
    try:
        return canonicalize_name(text, validate=True)
    except InvalidName as err:
        raise InvalidInput(
            f"{text[:100]!r} is no project name.",
            code="project.name",
            hint="Letters, digits, `-`, `_` and `.`; a letter or digit at both ends.",
        ) from err


def skeleton(name: str) -> str:
    """What is left of a name for the eye: names with the same skeleton are confusable."""
    return name.lower().translate(_LOOKALIKE)


def version_key(text: str) -> str:
    """The one spelling of a version: `1.0`, `1.0.0` and `v1` are the same release (PEP 440).

    Raises:
        InvalidInput: `version.invalid`.
    """
    try:
        return canonicalize_version(Version(text))
    except InvalidVersion as err:
        raise InvalidInput(f"{text[:100]!r} is no version (PEP 440).", code="version.invalid") from err
