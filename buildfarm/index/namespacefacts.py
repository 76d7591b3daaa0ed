"""What pages and documents say of reserved namespaces, read from SQL. Source: PEP 752, Simple API 1.5."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from buildfarm.index import namespaces
from buildfarm.index.model import Namespace, Project
from buildfarm.journal.model import JournalRow
from buildfarm.sources.model import Source

#: Below a channel's folder: the document about every namespace, and the folder of those about one.
LIST, DETAILS = "namespaces.gz", "namespace"
_IS_ABOUT_ONE = JournalRow.kind.startswith("namespace.")


@dataclass(frozen=True, slots=True)
class Claim:
    """A namespace that covers a project; `owned`: whether the project's owner is one of its owners."""

    name: str
    owned: bool


@dataclass(frozen=True, slots=True)
class Coverage:
    """The namespaces of a project, the shortest first, and the newest row about one, there or given up."""

    claims: tuple[Claim, ...]
    serial: int


def coverage(session: Session, projects: Mapping[str, int]) -> dict[str, Coverage]:
    """What covers these local projects, which are given with the serials since which they are local.

    A project that is not older than the grant was let in as its owners', or by an administrator for them.
    An older one is owned when the source that publishes it is an owner.
    """
    prefixes = {prefix for name in projects for prefix in namespaces.prefixes(name)}
    rows = select(Namespace).where(Namespace.prefix.in_(prefixes))
    grants = {grant.prefix: grant for grant in session.scalars(rows)}
    owners = {owner.removeprefix("source:") for grant in grants.values() for owner in grant.owners}
    sources = session.execute(select(Source.name, Source.projects).where(Source.name.in_(owners)))
    held = {f"source:{source}": frozenset(names) for source, names in sources}
    changes = session.execute(
        select(JournalRow.project, func.max(JournalRow.serial))
        .where(JournalRow.project.in_(prefixes), JournalRow.version.is_(None), _IS_ABOUT_ONE)
        .group_by(JournalRow.project)
    )
    serials = {prefix: serial for prefix, serial in changes if prefix}
    found = {}
    for name, since in projects.items():
        about = namespaces.prefixes(name)
        claims = [
            Claim(prefix, since > grant.since or any(name in held.get(owner, ()) for owner in grant.owners))
            for prefix in about
            if (grant := grants.get(prefix))
        ]
        found[name] = Coverage(tuple(claims), max(serials.get(prefix, 0) for prefix in about))
    return found


def touched(session: Session, shown: int, newest: int) -> Iterator[str]:
    """The local projects whose coverage changed after the serial `shown`, `newest` included."""
    between = (JournalRow.serial > shown) & (JournalRow.serial <= newest)
    for prefix in session.scalars(select(JournalRow.project).where(between, _IS_ABOUT_ONE).distinct()):
        below = Project.name.startswith(f"{prefix}-", autoescape=True)
        yield from session.scalars(select(Project.name).where(or_(Project.name == prefix, below)))


def documents(session: Session) -> dict[str, tuple[bytes, int]]:
    """`GET .../namespaces` and `.../namespace/<name>`: path below the channel -> gzip bytes, time.

    All of them have the serial of the last row about any namespace.
    """
    prefixes = list(session.scalars(select(Namespace.prefix).order_by(Namespace.prefix)))
    serial = session.scalar(
        select(JournalRow.serial).where(_IS_ABOUT_ONE).order_by(JournalRow.serial.desc()).limit(1)
    )
    told: dict[str, Any] = {LIST: [{"name": prefix} for prefix in prefixes]}
    for prefix in prefixes:
        parent = prefix.rpartition("-")[0]
        told[f"{DETAILS}/{prefix}.gz"] = {
            "name": prefix,
            "parent": parent if parent in prefixes else None,
            "children": [other for other in prefixes if other.rpartition("-")[0] == prefix],
        }
    return {path: (_zipped(value), 8 * (serial or 0)) for path, value in told.items()}


def _zipped(value: Any) -> bytes:  # noqa: ANN401
    return gzip.compress(json.dumps(value, separators=(",", ":")).encode(), mtime=0)
