"""Recomputing the journal's tree from its rows as the API shows them, by who does not believe the farm.

A row is hashed as the RFC 8785 JSON that it is said to be, so a changed fact changes the root. Only an
`attest` row stands in the tree as other bytes: the log entry that its bundle proves, which must be one.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any

import rfc8785

from buildfarm.errors import IntegrityFailure
from buildfarm.journal import merkle

#: The kind of row whose leaf is a log entry.
ATTEST = "attest"
_ENTRY = "dsse"


class Recomputed:
    """The tree of the rows so far."""

    def __init__(self) -> None:
        self.size = 0
        self._nodes: dict[tuple[int, int], bytes] = {}

    def add(self, row: Mapping[str, Any]) -> None:
        """Append the next row, as `/api/v1/journal` gives it.

        Raises:
            IntegrityFailure: `journal.row`, it is not the next one, or its leaf is not what it must be.
        """
        if row.get("serial") != self.size + 1:
            raise _broken(f"After row {self.size} comes row {self.size + 1}, not {row.get('serial')!r}.")
        leaf = merkle.leaf_hash(_leaf(row))
        for level, index, digest in merkle.appended(self.size, leaf, self._node):
            self._nodes[level, index] = digest
        self.size += 1

    def root(self) -> bytes:
        """The root hash over all rows so far."""
        return merkle.root(self.size, self._node)

    def consistency(self, old: int, new: int) -> Sequence[bytes]:
        """The proof between two sizes, neither of them larger than `size`."""
        return merkle.consistency_proof(old, new, self._node)

    def _node(self, level: int, index: int) -> bytes:
        return self._nodes[level, index]


def _leaf(row: Mapping[str, Any]) -> bytes:
    try:
        if row["kind"] == ATTEST:
            leaf = base64.b64decode(row["leaf"], validate=True)
            if json.loads(leaf)["kind"] != _ENTRY:
                raise _broken(f"Row {row['serial']} does not stand in the tree as a log entry.")
            return leaf
        if row["leaf"] is not None:
            raise _broken(f"Row {row['serial']} should stand in the tree as itself.")
        body = {"serial": row["serial"], "at": row["at"], "kind": row["kind"], **row["facts"]}
        if row["project"] is not None:
            body["project"] = row["project"]
        return rfc8785.dumps(body)
    except (ValueError, KeyError, TypeError, RecursionError, rfc8785.CanonicalizationError) as error:
        raise _broken(f"Row {row.get('serial')!r} cannot be read: {type(error).__name__}.") from error


def _broken(sentence: str) -> IntegrityFailure:
    return IntegrityFailure(sentence, code="journal.row")
