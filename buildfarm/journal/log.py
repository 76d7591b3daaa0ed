"""The journal as a log: its root, proofs over what is committed, and its checkpoints.

Source: RFC 9162 section 2.1; C2SP tlog-checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from sqlalchemy import func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from buildfarm import clock
from buildfarm.errors import InvalidInput
from buildfarm.journal import merkle
from buildfarm.journal.model import Checkpoint
from buildfarm.journal.record import size as journal_size
from buildfarm.journal.record import stored_node


@dataclass(frozen=True)
class Head:
    """The committed log at one moment, and proofs about it; valid while its session lives."""

    size: int
    root: bytes
    node: Callable[[int, int], bytes]

    def inclusion(self, index: int) -> tuple[bytes, ...]:
        """The proof that the leaf `index` is in the log."""
        return tuple(merkle.inclusion_proof(index, self.size, self.node))

    def consistency(self, old_size: int) -> Sequence[bytes]:
        """The proof that the log of `old_size` leaves is the beginning of this one."""
        return merkle.consistency_proof(old_size, self.size, self.node)


def head(session: Session) -> Head:
    """The log as committed now."""
    size, node = journal_size(session), partial(stored_node, session)
    return Head(size, merkle.root(size, node), node)


def consistency(session: Session, old: int, new: int) -> Sequence[bytes]:
    """The proof that the log of `old` leaves is the beginning of that of `new` leaves.

    Raises:
        InvalidInput: `merkle.range`, the log never had these sizes, or not in this order.
    """
    if new > (size := journal_size(session)):
        raise InvalidInput(f"The log has {size} leaves.", code="merkle.range")
    return merkle.consistency_proof(old, new, partial(stored_node, session))


def newest_size(session: Session) -> int:
    """How many rows the newest stored checkpoint covers; 0 without one."""
    return session.execute(select(func.max(Checkpoint.size))).scalar_one() or 0


def store_checkpoint(session: Session, size: int, note: str) -> None:
    """Keep a signed checkpoint; the same one again changes nothing."""
    # Two publishers may have the same state signed at the same moment.
    insert = sqlite.insert if session.get_bind().dialect.name == "sqlite" else postgresql.insert
    row = insert(Checkpoint).values(size=size, note=note, at=clock.now())
    session.execute(row.on_conflict_do_nothing())
