"""Recording changes: use cases call `record()`, the unit of work appends when it commits.

The head row is locked last and nothing but the append happens after it, so serials are dense and in
commit order on SQLite and PostgreSQL alike. A row is RFC 8785 JSON; the leaf of the Merkle tree is
that row, except where a caller gives other bytes (an `attest` row's leaf is the log entry that its
bundle proves). Source: RFC 9162 section 2.1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import rfc8785
from packaging.utils import canonicalize_version
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from buildfarm import clock
from buildfarm.journal import merkle
from buildfarm.journal.model import JournalHead, JournalNode, JournalRow


@dataclass
class Entry:
    """A change to be appended; `serial` is set when the unit of work commits."""

    kind: str
    project: str | None
    facts: dict[str, Any]
    leaf: bytes | None = None
    on_serial: Callable[[int], None] | None = None
    serial: int | None = None


def record(
    session: Session,
    kind: str,
    *,
    project: str | None = None,
    leaf: bytes | None = None,
    on_serial: Callable[[int], None] | None = None,
    **facts: Any,  # noqa: ANN401
) -> Entry:
    """Note a change; it becomes a journal row in the transaction of `session`.

    `on_serial` is called with the row's serial just before the commit: it fills columns that name it.
    """
    entry = Entry(kind, project, facts, leaf, on_serial)
    session.info.setdefault("journal", []).append(entry)
    return entry


def append_recorded(session: Session) -> None:
    """Append what was recorded; the unit of work's `before_commit`, never called by anything else."""
    entries: list[Entry] = session.info.pop("journal", [])
    if not entries:
        return
    size = session.execute(
        update(JournalHead)
        .where(JournalHead.id == 1)
        .values(size=JournalHead.size + len(entries))
        .returning(JournalHead.size)
    ).scalar_one() - len(entries)
    fresh: dict[tuple[int, int], bytes] = {}

    def node(level: int, index: int) -> bytes:
        return fresh.get((level, index)) or stored_node(session, level, index)

    for entry in entries:
        moment = clock.now()
        body = {"serial": size + 1, "at": clock.iso(moment), "kind": entry.kind, **entry.facts}
        if entry.project:
            body["project"] = entry.project
        text = rfc8785.dumps(body)
        leaf = entry.leaf or text
        for level, index, digest in merkle.appended(size, merkle.leaf_hash(leaf), node):
            fresh[level, index] = digest
            session.add(JournalNode(level=level, index=index, hash=digest))
        size += 1
        session.add(
            JournalRow(
                serial=size,
                kind=entry.kind,
                project=entry.project,
                version=canonicalize_version(entry.facts["version"]) if "version" in entry.facts else None,
                at=moment,
                body=text.decode(),
                leaf=leaf,
            )
        )
        entry.serial = size
        if entry.on_serial:
            entry.on_serial(size)
    session.info["serial"] = size
    session.flush()


def stored_node(session: Session, level: int, index: int) -> bytes:
    """The hash of one complete subtree."""
    return session.execute(
        select(JournalNode.hash).where(JournalNode.level == level, JournalNode.index == index)
    ).scalar_one()


def size(session: Session) -> int:
    """The number of rows = the newest serial."""
    return session.execute(select(JournalHead.size)).scalar_one()
