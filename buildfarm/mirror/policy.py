"""The policy of a channel that shows upstream files: data, written by people as TOML, checked as a whole.

A policy says what must hold for a file to be shown. The empty one shows everything but what the
imported advisories call malware.
"""

from __future__ import annotations

import tomllib
from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from buildfarm.errors import InvalidInput
from buildfarm.nearest import did_you_mean

#: The rules that a break-glass release may lift, by the names under which refusals are shown.
RULES = (
    "deny",
    "allow",
    "file-type",
    "attested",
    "malware",
    "vulnerability",
    "licence",
    "age",
)


def _is_selector(text: str) -> str:
    Selector.parse(text)
    return text


class Selector:
    """Projects by name or glob, and which of their versions: `numpy`, `acme-*`, `urllib3<2.0.7`."""

    def __init__(self, pattern: str, specifiers: SpecifierSet) -> None:
        self._pattern, self._specifiers = pattern, specifiers

    @classmethod
    def parse(cls, text: str) -> Selector:
        """Read one selector.

        Raises:
            ValueError: it is neither a name, a glob nor a name with version specifiers (PEP 440).
        """
        if "*" in text and not any(mark in text for mark in "<>=!~"):
            pattern = text.strip().lower().replace("_", "-").replace(".", "-")
            if not pattern.replace("*", "").replace("-", "").isalnum() and pattern != "*":
                raise ValueError(f"{text!r} is no name or glob")
            return cls(pattern, SpecifierSet())
        try:
            requirement = Requirement(text)
        except (InvalidRequirement, InvalidSpecifier) as err:
            raise ValueError(f"{text!r} is no name, glob or name with versions") from err
        if requirement.url or requirement.extras or requirement.marker:
            raise ValueError(f"{text!r} says more than a name and versions")
        return cls(canonicalize_name(requirement.name), requirement.specifier)

    def covers(self, project: str, version: Version | None) -> bool:
        """Whether a version of a (normalised) project is meant; one without a version only by name alone."""
        if not fnmatchcase(project, self._pattern):
            return False
        if not len(self._specifiers):
            return True
        return version is not None and self._specifiers.contains(version, prereleases=True)


_Selector = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_is_selector)]
_Licence = Annotated[str, Field(min_length=1, max_length=100)]


class Policy(BaseModel):
    """What must hold for an upstream file to be shown."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    allow: tuple[_Selector, ...] = Field(default=(), max_length=20_000)
    """Only these projects and versions; empty: all that is not denied."""
    deny: tuple[_Selector, ...] = Field(default=(), max_length=20_000)
    """Never these; comes before `allow`."""
    file_types: tuple[Literal["wheel", "sdist"], ...] = ("wheel", "sdist")
    """`["wheel"]` hides source distributions, whose installation runs code."""
    only_attested: bool = False
    """Only files for which upstream shows provenance (PEP 740)."""
    minimum_age_days: float = Field(default=0, ge=0, le=3650)
    """A file is shown when it is this old. Its age counts from the upload time that upstream states; where
    it states none, from when this farm first saw the file."""
    allow_licences: tuple[_Licence, ...] = Field(default=(), max_length=1_000)
    """Only releases whose every licence matches one of these globs; empty: all that are not denied."""
    deny_licences: tuple[_Licence, ...] = Field(default=(), max_length=1_000)
    """No release one of whose licences matches."""
    vulnerabilities: Literal["pass", "block"] = "pass"
    """`block` hides versions that an imported advisory calls affected."""
    malware: Literal["pass", "block"] = "block"
    """`block` hides versions that an imported advisory calls malicious (`MAL-` identifiers)."""
    ignore_advisories: tuple[Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{3,60}$")], ...] = ()
    """Advisories that were looked at and do not matter here, by identifier or alias."""

    @property
    def asks_licence(self) -> bool:
        """Whether a decision needs the licences of a release."""
        return bool(self.allow_licences or self.deny_licences)


def parse(text: str) -> Policy:
    """A policy from TOML.

    Raises:
        InvalidInput: `policy.syntax`, `policy.unknown` (the hint has the nearest key), `policy.value`.
    """
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as err:
        raise InvalidInput(f"The policy is no TOML: {err}.", code="policy.syntax") from err
    return load(data)


def load(data: dict[str, Any]) -> Policy:
    """A policy from what a channel stores.

    Raises:
        InvalidInput: `policy.unknown`, `policy.value`.
    """
    try:
        return Policy.model_validate(data)
    except ValidationError as err:
        problem = err.errors()[0]
        where = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            raise InvalidInput(
                f"A policy has no key {where!r}.",
                code="policy.unknown",
                hint=did_you_mean(where, Policy.model_fields),
            ) from err
        message = problem["msg"].removeprefix("Value error, ")
        raise InvalidInput(f"The policy's {where} does not fit: {message}.", code="policy.value") from err
