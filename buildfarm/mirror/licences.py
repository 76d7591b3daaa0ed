"""Licences of upstream releases, read from their metadata once and kept.

What counts is, in this order: `License-Expression` (every licence that it names), the licence
classifiers (their last part), a short `License` text. Source: core metadata 2.4 (PEP 639).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping

from packaging.metadata import parse_email
from packaging.version import Version
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from buildfarm.db.engine import Database
from buildfarm.errors import FarmError
from buildfarm.mirror.guard_model import ReleaseLicence

#: How many releases one page waits for; what is left is read when the page is rendered next.
_AT_ONCE = 20
_TEXT_CHARACTERS = 100
_OPERATORS = re.compile(r"[()]|\b(?:AND|OR|WITH)\b", re.IGNORECASE)


def licences_of(metadata: bytes) -> list[str]:
    """The licences that core metadata names; empty when it names none."""
    raw, _ = parse_email(metadata)
    if expression := raw.get("license_expression"):
        return sorted({part.strip() for part in _OPERATORS.split(expression) if part.strip()})
    classifiers = [
        one.rpartition("::")[2].strip()
        for one in raw.get("classifiers", [])
        if one.startswith("License ::") and one.count("::") > 1
    ]
    if classifiers:
        return sorted(set(classifiers))
    text = " ".join(raw.get("license", "").split())
    return [text] if 0 < len(text) <= _TEXT_CHARACTERS and text != "UNKNOWN" else []


class Licences:
    """What is known of a project's licences; asks for the metadata of releases that nobody has read."""

    def __init__(self, database: Database, metadata: Callable[[str, str], bytes]) -> None:
        """`metadata` gives the core metadata of a file by project and file name, or raises a FarmError."""
        self._database, self._metadata = database, metadata

    def known(self, project: str, files: Iterable[tuple[Version, str]]) -> Mapping[Version, list[str]]:
        """Licences by version, for files that have metadata beside them; newest releases first.

        A version is missing when its metadata could not be read yet.
        """
        with self._database.read() as session:
            rows = session.scalars(select(ReleaseLicence).where(ReleaseLicence.project == project)).all()
            known = {Version(row.version): [str(one) for one in row.licences] for row in rows}
        unread = {version: filename for version, filename in files if version not in known}
        for version in sorted(unread, reverse=True)[:_AT_ONCE]:
            try:
                found = licences_of(self._metadata(project, unread[version]))
            except FarmError:
                continue
            self._keep(project, version, found)
            known[version] = found
        return known

    def _keep(self, project: str, version: Version, found: list[str]) -> None:
        try:
            with self._database.begin() as session:
                session.add(ReleaseLicence(project=project, version=str(version), licences=found))
        except IntegrityError:
            return  # another process read it at the same moment
