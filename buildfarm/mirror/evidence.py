"""Proof that a farm wrote a bundle: the row of its journal that names the manifest, under a signed head.

No key signs bundles. The row `mirror.export` stands in the log like every other change, so whoever has
the farm's trusted root can check it anywhere. Source: RFC 9162 section 2.1.3, C2SP tlog-checkpoint.
"""

from __future__ import annotations

import base64
import json
from dataclasses import asdict, dataclass
from functools import partial

from sqlalchemy import select
from sqlalchemy.orm import Session

from buildfarm.errors import IntegrityFailure, InvalidInput, NotFound
from buildfarm.journal import merkle
from buildfarm.journal.model import Checkpoint, JournalRow
from buildfarm.journal.record import stored_node
from buildfarm.trust.root import TrustedRoot
from buildfarm.trust.watch import signed_head

#: The kind of the row that names a bundle's manifest.
KIND = "mirror.export"
_MAX = 256 * 1024
_SERIALS = 1 << 53


@dataclass(frozen=True)
class Evidence:
    """The row as it is hashed (RFC 8785), its inclusion proof (base64), and the signed head it leads to."""

    row: str
    proof: tuple[str, ...]
    checkpoint: str

    def to_json(self) -> str:
        """The one form of it as text."""
        return json.dumps(asdict(self), sort_keys=True)


@dataclass(frozen=True)
class Proved:
    """What the evidence says of a bundle: the log, the row's serial, the manifest's SHA-256 hex."""

    origin: str
    serial: int
    sha256: str


def collect(session: Session, serial: int) -> Evidence:
    """The evidence of an export.

    Raises:
        NotFound: `export.unknown`; `export.unsigned`, no signed head covers the row so far.
    """
    row = _row(session, serial)
    covering = select(Checkpoint).where(Checkpoint.size >= serial).order_by(Checkpoint.size).limit(1)
    head = session.scalars(covering).first()
    if head is None:
        raise NotFound(
            f"No signed head of the journal covers row {serial} so far.",
            code="export.unsigned",
            hint="It is signed within seconds, as long as the signer is up.",
        )
    proof = merkle.inclusion_proof(serial - 1, head.size, partial(stored_node, session))
    return Evidence(row.body, tuple(base64.b64encode(one).decode() for one in proof), head.note)


def manifest_of(session: Session, serial: int) -> str:
    """The SHA-256 hex of the manifest that an export wrote.

    Raises:
        NotFound: `export.unknown`.
    """
    return str(json.loads(_row(session, serial).body)["sha256"])


def check(text: str, trusted: TrustedRoot, manifest_sha256: str) -> Proved:
    """Check evidence against the root that somebody pinned, and a manifest against the evidence.

    Raises:
        IntegrityFailure: `bundle.evidence`, it cannot be read or the farm never wrote this row;
            `bundle.manifest`, the row names another manifest.
    """
    try:
        evidence = _read(text)
        row = json.loads(evidence.row)
        serial, kind, sha256 = row["serial"], row["kind"], row["sha256"]
        proof = [base64.b64decode(one, validate=True) for one in evidence.proof]
        _log_id, head = signed_head(evidence.checkpoint, trusted)
        merkle.verify_inclusion(
            merkle.leaf_hash(evidence.row.encode()), serial - 1, head.size, proof, head.root
        )
    except (ValueError, KeyError, TypeError, RecursionError, InvalidInput) as err:
        raise IntegrityFailure(
            "The evidence of the bundle cannot be read.",
            code="bundle.evidence",
            hint="The bundle was changed, or did not arrive whole: copy it again.",
        ) from err
    except IntegrityFailure as err:
        raise IntegrityFailure(
            f"The trusted farm did not write this bundle: {err.message}",
            code="bundle.evidence",
            hint="Import nothing of it. Ask who made it, and for the digest of that farm's trusted root.",
        ) from err
    if kind != KIND or sha256 != manifest_sha256:
        raise IntegrityFailure(
            "The manifest is not the one that the farm signed.",
            code="bundle.manifest",
            hint="The bundle was changed, or did not arrive whole: copy it again.",
            expected=str(sha256),
            got=manifest_sha256,
        )
    return Proved(head.origin, serial, manifest_sha256)


def _row(session: Session, serial: int) -> JournalRow:
    row = session.get(JournalRow, serial) if serial < _SERIALS else None
    if row is None or row.kind != KIND:
        raise NotFound(f"Row {serial} of the journal is no export.", code="export.unknown")
    return row


def _read(text: str) -> Evidence:
    value = json.loads(text) if len(text) <= _MAX else {}
    evidence = Evidence(str(value["row"]), tuple(map(str, value["proof"])), str(value["checkpoint"]))
    if evidence.to_json() != text:
        raise ValueError("not in its one form")
    return evidence
