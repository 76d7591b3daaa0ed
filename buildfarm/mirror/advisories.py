"""Known vulnerabilities and malware: the OSV database, imported by the operator, read offline.

The archive is `PyPI/all.zip` of the OSV bucket: one JSON record a member. Source: OSV schema 1.x,
`affected[].package`, `versions`, `ranges[type=ECOSYSTEM].events`, evaluated by PEP 440 order.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version
from sqlalchemy import delete, func, insert, select
from sqlalchemy.orm import Session

from buildfarm.errors import InvalidInput
from buildfarm.journal.record import record
from buildfarm.mirror.guard_model import Advisory, AdvisoryCover
from buildfarm.mirror.judge import Finding

_RECORD_BYTES = 8 * 2**20
_RECORDS = 500_000
_TOTAL_BYTES = 4 * 2**30
_BATCH = 2_000
_SUMMARY_CHARACTERS = 300


@dataclass(frozen=True)
class Imported:
    """What an import did."""

    advisories: int
    passed_over: int
    newest: str


def import_archive(session: Session, archive: Path, *, actor: str) -> Imported:
    """Replace all advisories by those of an archive, in the caller's transaction.

    Records of other ecosystems and withdrawn ones are passed over.

    Raises:
        InvalidInput: `advisories.archive`, it is no zip of OSV records; nothing may be committed.
    """
    try:
        with archive.open("rb") as source:
            sha256 = hashlib.file_digest(source, "sha256").hexdigest()
    except OSError as err:
        raise _not_osv("it cannot be read as a zip") from err
    done = import_records(session, _members(archive), sha256=sha256, actor=actor)
    if not done.advisories:
        raise InvalidInput("The archive holds no advisory for Python packages.", code="advisories.archive")
    return done


def import_records(session: Session, records: Iterable[bytes], *, sha256: str, actor: str) -> Imported:
    """The same with OSV records (JSON); `sha256` is of what they come from.

    Raises:
        InvalidInput: `advisories.archive`, one of them is none; nothing may be committed.
    """
    session.execute(delete(AdvisoryCover))
    session.execute(delete(Advisory))
    rows: list[dict[str, Any]] = []
    covers: list[dict[str, Any]] = []
    taken, passed_over, newest = 0, 0, ""
    for text in records:
        found = _read(text)
        if found is None:
            passed_over += 1
            continue
        row, its_covers = found
        rows.append(row)
        covers += its_covers
        taken, newest = taken + 1, max(newest, row["modified"])
        if len(rows) >= _BATCH:
            _store(session, rows, covers)
    _store(session, rows, covers)
    record(session, "advisories.import", sha256=sha256, advisories=taken, newest=newest, actor=actor)
    return Imported(taken, passed_over, newest)


def count(session: Session) -> tuple[int, str | None]:
    """How many advisories there are, and when the newest was modified (RFC 3339)."""
    total, newest = session.execute(
        select(func.count(), func.max(Advisory.modified)).select_from(Advisory)
    ).one()
    return total, newest


def export_records(session: Session) -> Iterator[bytes]:
    """Every advisory as an OSV record, by id: what `import_records` makes the same rows of."""
    rows = session.execute(
        select(Advisory, AdvisoryCover)
        .join(AdvisoryCover, AdvisoryCover.advisory_id == Advisory.id)
        .order_by(Advisory.id, AdvisoryCover.project)
        .execution_options(yield_per=_BATCH)
    )
    for _id, pairs in groupby(rows, key=lambda pair: pair[0].id):
        covers = list(pairs)
        advisory = covers[0][0]
        document = {
            "id": advisory.id,
            "modified": advisory.modified,
            "summary": advisory.summary,
            "aliases": advisory.aliases,
            "affected": [_affected(cover) for _advisory, cover in covers],
        }
        yield json.dumps(document, separators=(",", ":"), sort_keys=True).encode()


def digest(session: Session) -> str | None:
    """SHA-256 hex of everything that `export_records` gives, a line each; None when there is nothing."""
    total = hashlib.sha256()
    is_any = False
    for line in export_records(session):
        total.update(line + b"\n")
        is_any = True
    return total.hexdigest() if is_any else None


def _affected(cover: AdvisoryCover) -> dict[str, Any]:
    ranges = [{"type": "ECOSYSTEM", "events": events} for events in cover.ranges]
    package = {"ecosystem": "PyPI", "name": cover.project}
    return {"package": package, "versions": cover.versions, "ranges": ranges}


def findings_for(session: Session, project: str, versions: Sequence[Version]) -> dict[Version, list[Finding]]:
    """The advisories that cover versions of a (normalised) project."""
    rows = session.execute(
        select(Advisory, AdvisoryCover)
        .join(AdvisoryCover, AdvisoryCover.advisory_id == Advisory.id)
        .where(AdvisoryCover.project == project)
    ).all()
    findings: dict[Version, list[Finding]] = defaultdict(list)
    for advisory, cover in rows:
        finding = Finding(
            advisory.id, frozenset(advisory.aliases), advisory.id.startswith("MAL-"), advisory.summary
        )
        for version in versions:
            if is_covered(version, cover.versions, cover.ranges):
                findings[version].append(finding)
    return findings


def is_covered(version: Version, versions: Sequence[str], ranges: Sequence[Sequence[dict[str, str]]]) -> bool:
    """Whether a version is among the listed ones or within a range of events (OSV schema, "Evaluation")."""
    if any(_version(text) == version for text in versions):
        return True
    return any(_is_within(version, events) for events in ranges)


def _is_within(version: Version, events: Sequence[dict[str, str]]) -> bool:
    limits = [_version(event["limit"]) for event in events if "limit" in event]
    if limits and not any(limit is not None and version < limit for limit in limits):
        return False
    within = False
    for place, kind in sorted(_placed(events), key=lambda pair: pair[0] or _BEFORE_ALL):
        reached = place is None or version >= place
        if kind == "introduced" and reached:
            within = True
        elif (kind == "fixed" and reached) or (kind == "last_affected" and reached and version != place):
            within = False
    return within


def _placed(events: Sequence[dict[str, str]]) -> Iterator[tuple[Version | None, str]]:
    for event in events:
        for kind in ("introduced", "fixed", "last_affected"):
            if kind not in event:
                continue
            if event[kind] == "0":
                yield None, kind
            elif (place := _version(event[kind])) is not None:
                yield place, kind


_BEFORE_ALL = Version("0.dev0")


def _version(text: str) -> Version | None:
    try:
        return Version(text)
    except InvalidVersion:
        return None


def _members(archive: Path) -> Iterator[bytes]:
    try:
        with zipfile.ZipFile(archive) as opened:
            members = [member for member in opened.infolist() if member.filename.endswith(".json")]
            if len(members) > _RECORDS or sum(member.file_size for member in members) > _TOTAL_BYTES:
                raise _not_osv("it is larger than any database of advisories")
            for member in members:
                if member.file_size > _RECORD_BYTES:
                    raise _not_osv(f"{member.filename[:80]} is larger than any record")
                yield opened.read(member)
    except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError, RuntimeError) as err:
        raise _not_osv("it cannot be read as a zip") from err


def _read(text: bytes) -> tuple[dict[str, Any], list[dict[str, Any]]] | None:
    """The rows of a record, or None when it is withdrawn or about other ecosystems."""
    try:
        document = json.loads(text)
        if document.get("withdrawn") or b"\\u0000" in text:  # PostgreSQL stores no NUL
            return None
        covers: dict[str, dict[str, Any]] = {}
        for affected in document.get("affected", []):
            package = affected.get("package", {})
            if package.get("ecosystem") != "PyPI":
                continue
            name = canonicalize_name(package["name"])
            cover = covers.setdefault(
                name, {"advisory_id": document["id"], "project": name, "versions": [], "ranges": []}
            )
            cover["versions"] += [str(one) for one in affected.get("versions", [])]
            cover["ranges"] += [
                [{kind: str(value) for kind, value in event.items()} for event in one.get("events", [])]
                for one in affected.get("ranges", [])
                if one.get("type") == "ECOSYSTEM"
            ]
        if not covers:
            return None
        summary = document.get("summary") or document.get("details") or ""
        row = {
            "id": str(document["id"])[:100],
            "summary": " ".join(str(summary).split())[:_SUMMARY_CHARACTERS],
            "aliases": [str(alias) for alias in document.get("aliases", [])],
            "modified": str(document["modified"]),
        }
    except (ValueError, KeyError, TypeError, AttributeError) as err:
        raise _not_osv("one of its records does not follow the OSV schema") from err
    return row, list(covers.values())


def _store(session: Session, rows: list[dict[str, Any]], covers: list[dict[str, Any]]) -> None:
    if rows:
        session.execute(insert(Advisory), rows)
    if covers:
        session.execute(insert(AdvisoryCover), covers)
    rows.clear()
    covers.clear()


def _not_osv(problem: str) -> InvalidInput:
    return InvalidInput(
        f"This is no archive of OSV advisories: {problem}.",
        code="advisories.archive",
        hint="It is the file PyPI/all.zip of the OSV database.",
    )
