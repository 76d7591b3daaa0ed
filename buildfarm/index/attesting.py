"""Statements about files: signed, put into the journal, proved by a checkpoint over it.

Each step may be repeated: a retry finds the same answer of the signer and the same bundle.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from buildfarm.db.engine import Database
from buildfarm.errors import Conflict, ExternalFailure
from buildfarm.farm.model import Artifact
from buildfarm.index.model import Attestation
from buildfarm.journal.log import head, store_checkpoint
from buildfarm.journal.record import record
from buildfarm.storage.blobs import Blobs
from buildfarm.trust import bundle as bundles
from buildfarm.trust.client import SignerClient
from buildfarm.trust.facts import BuildFacts, ReproductionFacts
from buildfarm.trust.messages import EntryProof
from buildfarm.trust.mint import Attested

#: How often another publisher may get its checkpoint in before ours.
_ROUNDS = 5


@dataclass(frozen=True)
class Attester:
    """Has statements made; for the worker that runs beside the signer."""

    database: Database
    blobs: Blobs
    signer: SignerClient

    def attest(self, artifact: Artifact, facts: BuildFacts) -> None:
        """Have the statement about an artifact signed, and put it into the journal.

        Raises:
            FarmError: as `SignerClient.attest`.
        """
        with self.blobs.open(artifact.sha256) as content:
            attested = self.signer.attest(facts, content.fileno())
        # A publisher that lost its claim may be here too; the signer gave both the same answer.
        with contextlib.suppress(IntegrityError), self.database.begin() as session:
            row = Attestation(
                job_id=artifact.job_id,
                attempt=artifact.attempt,
                filename=artifact.filename,
                file_sha256=attested.file_sha256,
                is_reproduction=isinstance(facts, ReproductionFacts),
                answer=attested.as_json(),
            )
            session.add(row)
            session.flush()
            record(
                session,
                "attest",
                filename=artifact.filename,
                sha256=attested.file_sha256,
                leaf=attested.entry_body,
                on_serial=_note_serial(row),
            )

    def prove(self, rows: Callable[[Session], Sequence[Attestation]]) -> None:
        """Have a checkpoint signed over what is durable, and store the bundles that it proves.

        Raises:
            ExternalFailure: `signer.contended`, or as `SignerClient.checkpoint`.
        """
        for _round in range(_ROUNDS):
            try:
                self._prove_once(rows)
            except Conflict as err:
                # Another publisher had a later state signed meanwhile: prove in the present one.
                if err.code != "checkpoint.behind":
                    raise
            else:
                return
        raise ExternalFailure("Other publishers kept moving the log's checkpoint.", code="signer.contended")

    def _prove_once(self, wanted: Callable[[Session], Sequence[Attestation]]) -> None:
        with self.database.read() as session:
            rows = [row for row in wanted(session) if not row.bundle_sha256]
            if not rows:
                return
            log = head(session)
            attested = [Attested.from_json(row.answer) for row in rows]
            indexes = [(row.serial or 0) - 1 for row in rows]
            proofs = [log.inclusion(index) for index in indexes]
            entries = [
                EntryProof(entry_body_sha256=_sha256(item.entry_body), log_index=index, inclusion_proof=proof)
                for item, index, proof in zip(attested, indexes, proofs, strict=True)
            ]
            checkpoint = self.signer.checkpoint(log.size, log.root, log.consistency, entries)
        stored = []
        for row, item, index, proof in zip(rows, attested, indexes, proofs, strict=True):
            bundle = bundles.assemble(item, checkpoint, index, proof)
            # PEP 740 has no place for a statement about a second build.
            provenance = None if row.is_reproduction else self.blobs.put_bytes(bundles.provenance(bundle))
            stored.append((self.blobs.put_bytes(bundle), provenance))
        with self.database.begin() as session:
            store_checkpoint(session, log.size, checkpoint.note)
            for row, (bundle_sha256, provenance_sha256) in zip(rows, stored, strict=True):
                fresh = session.get_one(Attestation, (row.job_id, row.attempt, row.filename))
                fresh.bundle_sha256, fresh.provenance_sha256 = bundle_sha256, provenance_sha256


def attestation_of(session: Session, artifact: Artifact) -> Attestation | None:
    """The statement about the build of an artifact: its own, or that of the same bytes under this name."""
    own = session.get(Attestation, (artifact.job_id, artifact.attempt, artifact.filename))
    if own and not own.is_reproduction:
        return own
    same = select(Attestation).where(
        Attestation.filename == artifact.filename, Attestation.file_sha256 == artifact.sha256
    )
    return session.scalars(same.where(Attestation.is_reproduction.is_(False))).first()


def _note_serial(row: Attestation) -> Callable[[int], None]:
    def note(serial: int) -> None:
        row.serial = serial

    return note


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
