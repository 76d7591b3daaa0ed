"""Core metadata: METADATA of a wheel, PKG-INFO of an sdist (rules M-01 to M-09)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NoReturn

from packaging.metadata import Metadata, RawMetadata, parse_email

from buildfarm.wheels.names import FileName, normalise
from buildfarm.wheels.rules import Report, shown

MAX_METADATA = 5 * 1024 * 1024
_MAX_HEADERS = 1024 * 1024
_MAX_NAMES = 100
_MAX_CONTENT_TYPE = 1000
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


def read_metadata(data: bytes, name: FileName, entry: str, report: Report) -> CoreMetadata:
    """Validate metadata strictly and hold it against the file name.

    Raises:
        InvalidInput: M-01 to M-08.
    """
    _check_bytes(data, entry, report)
    raw, metadata = _parse(data, entry, report)
    if normalise(metadata.name) != name.project or str(metadata.version) != str(name.version):
        said = shown(f"{metadata.name} {metadata.version}")
        report.refuse(
            "M-04", f"the metadata is of {said}, the file name of {name.project} {name.version}.", entry
        )
    for requirement in metadata.requires_dist or []:
        if requirement.url:
            report.judge("M-05", f"the dependency {shown(requirement.name)} comes from a URL.", entry)
    for extra in raw.get("provides_extra", []):
        if extra != normalise(extra):
            report.judge("M-09", f"the extra {shown(extra)} is not normalised.", entry)
    return CoreMetadata(
        data=data,
        metadata_version=metadata.metadata_version,
        name=metadata.name,
        summary=metadata.summary or "",
        requires_python=raw.get("requires_python"),
        requires_dist=tuple(raw.get("requires_dist", ())),
        license_files=tuple(metadata.license_files or ()),
        import_names=tuple(metadata.import_names or ()),
    )


def _parse(data: bytes, entry: str, report: Report) -> tuple[RawMetadata, Metadata]:
    try:
        raw, unparsed = parse_email(data)
    except Exception:  # noqa: BLE001 -- the email package lets through whatever it trips over
        report.refuse("M-01", "the metadata cannot be read.", entry)
    for field, values in unparsed.items():
        if len(values) > 1 and not _MULTIPLE.fullmatch(field):
            report.refuse("M-02", f"the field {shown(field)} occurs more than once.", entry)
    for field in unparsed:
        report.refuse("M-01", f"the field {shown(field)} is unknown or cannot be read.", entry)
    if "license" in raw and "license_expression" in raw:
        report.refuse("M-07", "License and License-Expression are both given.", entry)
    if len(raw.get("description_content_type", "")) > _MAX_CONTENT_TYPE:
        report.refuse("M-01", "the field description-content-type is too long.", entry)
    checked = raw.copy()
    # Years of setuptools wrote License-File under versions that did not have it yet.
    if "license_files" in raw and raw.get("metadata_version", "") in ("1.2", "2.1", "2.2", "2.3"):
        report.note("M-03", f"License-File is newer than Metadata-Version {raw['metadata_version']}.", entry)
        del checked["license_files"]
    try:
        return raw, Metadata.from_raw(checked)
    except ExceptionGroup as problems:
        _refuse_field(problems, entry, report)
    except (ValueError, RecursionError):  # a number of thousands of digits, markers nested as deep
        report.refuse("M-01", "a field of the metadata cannot be read.", entry)


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


def _refuse_field(problems: ExceptionGroup[Exception], entry: str, report: Report) -> NoReturn:
    """Refuse by the rule of the first field, in the alphabet, that is invalid."""
    problem = min(problems.exceptions, key=lambda problem: str(getattr(problem, "field", "")))
    field = str(getattr(problem, "field", ""))
    newer = "introduced in metadata version" in str(problem)
    rule = "M-03" if newer else _RULE_OF_FIELD.get(field, "M-01")
    report.refuse(rule, f"the field {shown(field)} is not valid: {shown(str(problem))}.", entry)
