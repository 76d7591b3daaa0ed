"""The one spelling of names and versions: what counts as the same. Pure."""

from __future__ import annotations

from packaging.utils import InvalidName, canonicalize_name, canonicalize_version
from packaging.version import InvalidVersion, Version

from buildfarm.errors import InvalidInput


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


def version_key(text: str) -> str:
    """The one spelling of a version: `1.0`, `1.0.0` and `v1` are the same release (PEP 440).

    Raises:
        InvalidInput: `version.invalid`.
    """
    try:
        return canonicalize_version(Version(text))
    except InvalidVersion as err:
        raise InvalidInput(f"{text[:100]!r} is no version (PEP 440).", code="version.invalid") from err
