"""Core metadata: METADATA of a wheel, PKG-INFO of an sdist (rules M-01 to M-09)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from packaging.metadata import Metadata, RawMetadata, parse_email
from packaging.requirements import Requirement
from packaging.version import Version

from buildfarm.wheels.names import FileName, normalise
from buildfarm.wheels.rules import Report, shown

MAX_METADATA = 5 * 1024 * 1024
_MAX_HEADERS = 1024 * 1024
_MAX_NAMES = 100
_MAX_CONTENT_TYPE = 1000
_NEWEST = "2.6"
#: Years of setuptools wrote License-File under versions that did not have it yet, with other paths.
_BEFORE_LICENSES = ("1.2", "2.1", "2.2", "2.3")
_RULE_OF_FIELD = {
    "requires-dist": "M-05",
    "requires-python": "M-06",
    "license-expression": "M-07",
    "license": "M-07",
    "dynamic": "M-08",
    "metadata-version": "M-03",
}
_MULTIPLE = re.compile(
    r"classifier|dynamic|import-name|import-namespace|license-file|obsoletes(-dist)?|platform|project-url"
    r"|provides(-dist|-extra)?|requires(-dist|-external)?|supported-platform"
)


@dataclass(frozen=True)
class CoreMetadata:
    """What the validator uses of the core metadata, texts as the author wrote them; `data` is all of it."""

    data: bytes
    metadata_version: str
    name: str
    summary: str
    requires_python: str | None
    requires_dist: tuple[str, ...]
    license_files: tuple[str, ...]
    import_names: tuple[str, ...]
    dynamic: frozenset[str]
    #: Of a wheel: what it brings at the top that can be imported.
    packages: tuple[str, ...] = ()


def read_metadata(data: bytes, name: FileName, entry: str, report: Report) -> CoreMetadata:
    """Validate metadata strictly and hold it against the file name.

    Raises:
        InvalidInput: M-01 to M-08.
    """
    _check_bytes(data, entry, report)
    raw = _parse(data, entry, report)
    said_name, said_version = raw.get("name", ""), raw.get("version", "")
    said = shown(f"{said_name} {said_version}")
    if normalise(said_name) != name.project or _canonical(said_version) != name.version:
        report.refuse(
            "M-04", f"the metadata is of {said}, the file name of {name.project} {name.version}.", entry
        )
    if str(_canonical(said_version)) != str(name.version):
        report.judge("M-04", f"the metadata says {said}, which the file name spells otherwise.", entry)
    for text in raw.get("requires_dist", []):
        requirement = _requirement(text) if "@" in text else None  # parsing is dear
        if requirement and requirement.url:
            report.judge("M-05", f"the dependency {shown(requirement.name)} comes from a URL.", entry)
    for extra in raw.get("provides_extra", []):
        if extra != normalise(extra):
            report.judge("M-09", f"the extra {shown(extra)} is not normalised.", entry)
    version = raw.get("metadata_version", "")
    return CoreMetadata(
        data=data,
        metadata_version=version,
        name=said_name,
        summary=raw.get("summary", ""),
        requires_python=raw.get("requires_python"),
        requires_dist=tuple(raw.get("requires_dist", ())),
        license_files=() if version in _BEFORE_LICENSES else tuple(raw.get("license_files", ())),
        import_names=tuple(raw.get("import_names", ())),
        dynamic=frozenset(field.lower() for field in raw.get("dynamic", ())),
    )


def _parse(data: bytes, entry: str, report: Report) -> RawMetadata:
    try:
        raw, unparsed = parse_email(data)
    except Exception:  # noqa: BLE001 -- the email package lets through whatever it trips over
        report.refuse("M-01", "the metadata cannot be read.", entry)
    for field, values in unparsed.items():
        if len(values) > 1 and not _MULTIPLE.fullmatch(field):
            report.judge("M-02", f"the field {shown(field)} occurs more than once.", entry)
        else:
            report.judge("M-01", f"the field {shown(field)} is unknown or cannot be read.", entry)
    if "license" in raw and "license_expression" in raw:
        report.judge("M-07", "License and License-Expression are both given.", entry)
    if len(raw.get("description_content_type", "")) > _MAX_CONTENT_TYPE:
        report.refuse("M-01", "the field description-content-type is too long.", entry)
    try:
        Metadata.from_raw(_comparable(raw, entry, report))
    except ExceptionGroup as problems:
        for field, problem in sorted(_by_field(problems).items()):
            newer = "introduced in metadata version" in problem
            rule = "M-03" if newer else _RULE_OF_FIELD.get(field, "M-01")
            report.judge(rule, f"the field {shown(field)} is not valid: {shown(problem)}.", entry)
    except (ValueError, RecursionError):  # a number of thousands of digits, markers nested as deep
        report.refuse("M-01", "a field of the metadata cannot be read.", entry)
    return raw


def _comparable(raw: RawMetadata, entry: str, report: Report) -> RawMetadata:
    """The metadata as its version would have it, where years of tools have written it otherwise."""
    checked = raw.copy()
    version = raw.get("metadata_version", "")
    if "license_files" in raw and version in _BEFORE_LICENSES:
        report.note("M-03", f"License-File is newer than Metadata-Version {version}.", entry)
        del checked["license_files"]
    # A minor version adds fields that may be passed over (core metadata specification, Metadata-Version).
    if re.fullmatch(r"2\.\d{1,3}", version) and int(version[2:]) > int(_NEWEST[2:]):
        report.note("M-03", f"Metadata-Version {version} is newer than this farm; read as {_NEWEST}.", entry)
        checked["metadata_version"] = _NEWEST
    return checked


def _by_field(problems: ExceptionGroup[Exception]) -> dict[str, str]:
    return {str(getattr(problem, "field", "")): str(problem) for problem in problems.exceptions}


def _canonical(version: str) -> Version | None:
    try:
        return Version(version)
    except ValueError:  # no version, or one of thousands of digits
        return None


def _requirement(text: str) -> Requirement | None:
    try:
        return Requirement(text)
    except (ValueError, RecursionError):
        return None


def _check_bytes(data: bytes, entry: str, report: Report) -> None:
    if data.startswith(b"\xef\xbb\xbf"):
        report.refuse("M-01", "the metadata starts with a byte order mark.", entry)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        report.refuse("M-01", "the metadata is not UTF-8.", entry)
    headers = re.split(r"\r?\n\r?\n", text, maxsplit=1)[0]
    if len(headers) > _MAX_HEADERS:
        report.refuse("M-01", "the metadata's fields are too long.", entry)
    # Parsing costs (field names) x (fields): a megabyte of made-up names would take minutes.
    if len({line.partition(":")[0].lower() for line in headers.split("\n") if line[:1].strip()}) > _MAX_NAMES:
        report.refuse("M-01", "the metadata has more fields than any version of the standard.", entry)
    if re.search(r"\x00|\r(?!\n)", headers):
        report.refuse("M-01", "the metadata's fields hold control characters.", entry)
