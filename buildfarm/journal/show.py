"""What people see of the journal: its rows and its newest checkpoint."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from buildfarm.errors import NotFound
from buildfarm.journal.model import Checkpoint, JournalRow
from buildfarm.journal.record import size


@dataclass(frozen=True)
class ChangeRow:
    """One change; `facts` is the recorded body without serial, time, kind and project.

    `leaf` is base64 of the bytes in the Merkle tree, where those are not the row itself.
    """

    serial: int
    kind: str
    project: str | None
    at: datetime
    facts: dict[str, Any]
    leaf: str | None


@dataclass(frozen=True)
class CheckpointRow:
    """The signed head of the journal at one size (C2SP tlog-checkpoint)."""

    size: int
    note: str
    at: datetime


def list_rows(session: Session, after: int = 0, limit: int = 50) -> tuple[list[ChangeRow], int | None]:
    """Rows with serials above `after`, in order, and the serial to go on after (None at the end)."""
    found = list(
        session.scalars(
            select(JournalRow).where(JournalRow.serial > after).order_by(JournalRow.serial).limit(limit + 1)
        )
    )
    kept = found[:limit]
    return [_row(row) for row in kept], kept[-1].serial if len(found) > limit else None


def newest_rows(session: Session, limit: int = 50) -> list[ChangeRow]:
    """The last rows, the newest first."""
    return [
        _row(row)
        for row in session.scalars(select(JournalRow).order_by(JournalRow.serial.desc()).limit(limit))
    ]


def newest_checkpoint(session: Session) -> CheckpointRow:
    """The newest signed checkpoint.

    Raises:
        NotFound: `journal.no_checkpoint`, none was signed so far.
    """
    row = session.scalars(select(Checkpoint).order_by(Checkpoint.size.desc()).limit(1)).first()
    if row is None:
        raise NotFound(
            f"No checkpoint was signed so far; the journal has {size(session)} rows.",
            code="journal.no_checkpoint",
        )
    return CheckpointRow(row.size, row.note, row.at)


def _row(row: JournalRow) -> ChangeRow:
    body = json.loads(row.body)
    facts = {key: value for key, value in body.items() if key not in {"serial", "at", "kind", "project"}}
    leaf = None if row.leaf == row.body.encode() else base64.b64encode(row.leaf).decode()
    return ChangeRow(row.serial, row.kind, row.project, row.at, facts, leaf)
