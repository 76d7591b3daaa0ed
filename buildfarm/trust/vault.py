"""The signer's four verbs, apart from the process around them.

The vault signs statements that it composed and checkpoints that grow out of its last one; there is no
verb that signs given bytes. It protects the keys and leaves a record of every use. It cannot know
whether the facts it is told are true: that is the control zone's part.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import stat
import threading
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from packaging.utils import canonicalize_name

from buildfarm import clock
from buildfarm.errors import Conflict, EnvironmentProblem, Forbidden, IntegrityFailure, InvalidInput
from buildfarm.journal import merkle
from buildfarm.trust import certificates, entry, keys, note, root
from buildfarm.trust.facts import BuildFacts, ReproductionFacts
from buildfarm.trust.messages import CheckpointRequest, EntryProof, SignedCheckpoint
from buildfarm.trust.mint import Attested, FileDigest, facts_digest, mint
from buildfarm.trust.record import Record

_CHUNK = 1024 * 1024
_RECORD = "record.jsonl"
_PUBLIC = "public"


class Vault:
    """The keys and the record of one farm; its methods may be called from several threads."""

    def __init__(self, data: Path, public_url: str) -> None:
        """Open the data directory, making keys where there are none.

        Args:
            data: the signer's directory; must exist.
            public_url: the farm's URL, which becomes the certificates' issuer.

        Raises:
            EnvironmentProblem: the keys cannot be read.
            IntegrityFailure: the record was changed.
        """
        self._data, self._url = data, public_url.rstrip("/")
        self._lock = threading.Lock()
        self._record = Record(data / _RECORD)
        self._store = keys.open_or_create(data, self._url)
        #: (file digest, file name, attempt of a second build) -> (digest of the facts, offset in the record)
        self._statements: dict[tuple[str, str, str], tuple[str, int]] = {}
        #: digest of an entry -> offset in the record
        self._entries: dict[str, int] = {}
        self._last: note.Checkpoint | None = None
        for offset, line in self._record.replay():
            self._learn(offset, line)
        self._publish()

    def close(self) -> None:
        """Wait for the verb at work, then let go of the record."""
        with self._lock:
            self._record.close()

    def attest(self, facts: BuildFacts, file: int) -> Attested:
        """Sign the statement about one file, or give again what was signed for the same facts.

        A file has one statement about its build, and one for each second build that made the same bytes.

        Args:
            facts: what the control zone's records say about the build, or about a second one.
            file: descriptor of the file, whose bytes are read here; its offset is left alone.

        Raises:
            InvalidInput: the descriptor is no file, or a URL does not belong to this farm.
            Conflict: another statement exists for this file and name; of a second build, none of a first.
            EnvironmentProblem: the issuing CA is not valid now.
        """
        self._demand_own_urls(facts)
        digest = _digest(file)
        again = facts.attempt_key if isinstance(facts, ReproductionFacts) else ""
        claim, facts_sha256 = (digest.sha256, facts.filename, again), facts_digest(facts)
        with self._lock:
            if again:
                self._demand_first(digest.sha256, facts)
            known = self._statements.get(claim)
            if known is not None and (recorded := self._again(facts, known, facts_sha256)):
                return recorded
            moment = clock.now().replace(microsecond=0)
            authority = self._store.issuing.certificate
            if not (
                authority.not_valid_before_utc <= moment
                and moment + certificates.LEAF_LIFETIME <= authority.not_valid_after_utc
            ):
                raise EnvironmentProblem(
                    "The signer's issuing CA is not valid at this time.",
                    code="signer.issuing_expired",
                    hint="Check this machine's clock, then run `buildfarm key rotate`.",
                )
            attested = mint(
                facts,
                digest,
                public_url=self._url,
                issuing=self._store.issuing,
                ct_key=self._store.ct,
                moment=moment,
            )
            line = {
                "attest": attested.as_json(),
                "attempt": facts.attempt_key,
                "name": facts.filename,
                "again": again,
                "facts_sha256": facts_sha256,
                "entry_sha256": hashlib.sha256(attested.entry_body).hexdigest(),
            }
            self._learn(self._record.append(line), line)
            return attested

    def checkpoint(self, request: CheckpointRequest) -> SignedCheckpoint:
        """Sign the log's state and the timestamps of entries in it.

        The same size and root give the same note, so a caller that lost the answer asks again.

        Raises:
            Conflict: the log is shorter than the last checkpoint, or the proof starts from another one.
            IntegrityFailure: the log does not begin with what the last checkpoint covered, or an entry
                is not included.
            Forbidden: an entry was never attested here.
        """
        wanted = note.Checkpoint(self._store.origin, request.size, request.root)
        with self._lock:
            if wanted != self._last:
                self._demand_growth(wanted, request)
            promises = [self._promise(proof, wanted) for proof in request.entries]
            signed = note.sign(wanted, self._store.log)
            if wanted != self._last:
                line = {"checkpoint": {"size": wanted.size, "root": wanted.root.hex()}}
                self._learn(self._record.append(line), line)
            return SignedCheckpoint(note=signed, log_id=self._log_id, promises=tuple(promises))

    def health(self) -> dict[str, Any]:
        """What an operator and the control zone need to know; no secret."""
        with self._lock:
            last = self._last
            return {
                "public_url": self._url,
                "origin": self._store.origin,
                "log_id": base64.b64encode(self._log_id).decode(),
                "attested": len(self._entries),
                "checkpoint_size": 0 if last is None else last.size,
                "checkpoint_root": None if last is None else base64.b64encode(last.root).decode(),
                "issuing_valid_until": clock.iso_seconds(self._store.issuing.certificate.not_valid_after_utc),
                "documents": {name: data.decode() for name, data in root.documents(self._store).items()},
            }

    def rotate(self) -> dict[str, Any]:
        """Put a new issuing CA in place; the earlier one stays trusted for what it signed until now."""
        with self._lock:
            self._store = keys.rotate(self._data)
            self._publish()
        return self.health()

    @property
    def _log_id(self) -> bytes:
        return note.log_id(self._store.origin, self._store.log.public_key())

    def _learn(self, offset: int, line: dict[str, Any]) -> None:
        if "attest" in line:
            claim = (line["attest"]["file_sha256"], line["name"], line.get("again", ""))
            self._statements[claim] = (line["facts_sha256"], offset)
            self._entries[line["entry_sha256"]] = offset
        else:
            last = line["checkpoint"]
            self._last = note.Checkpoint(self._store.origin, last["size"], bytes.fromhex(last["root"]))

    def _demand_first(self, file_sha256: str, facts: BuildFacts) -> None:
        """A second build can only repeat a first one, which had a statement of this signer."""
        first = self._statements.get((file_sha256, facts.filename, ""))
        if first is None or self._record.at(first[1])["attempt"] == facts.attempt_key:
            raise Conflict(
                f"There is no statement about {facts.filename} with these bytes by an earlier build.",
                code="signer.not_built",
            )

    def _again(self, facts: BuildFacts, known: tuple[str, int], facts_sha256: str) -> Attested | None:
        """What was signed for these facts; None where its issuing CA was taken out of the key store.

        Taking out is what an operator does with a stolen CA; the same claim may then be signed anew.
        """
        recorded_facts, offset = known
        line = self._record.at(offset)
        if recorded_facts != facts_sha256:
            raise Conflict(
                f"{facts.filename} with these bytes has a statement already, from attempt {line['attempt']}.",
                code="signer.second_statement",
                hint="One file gets one statement; publish the one that exists.",
                attempt=line["attempt"],
            )
        recorded = Attested.from_json(line["attest"])
        leaf = x509.load_der_x509_certificate(recorded.certificate)
        return recorded if any(_issued(leaf, by=each) for each in self._store.issued) else None

    def _demand_own_urls(self, facts: BuildFacts) -> None:
        home = self._url + "/"
        project = f"{home}projects/{canonicalize_name(facts.project)}/"
        for name, value, prefix in (
            ("identity", facts.identity, project),
            ("build_url", facts.build_url, home),
            ("attempt_url", facts.attempt_url, home),
            ("log_url", facts.log_url, home),
            *_first_urls(facts, home),
        ):
            if not value.startswith(prefix):
                raise InvalidInput(
                    f"The fact {name} is {value}, which is not under {prefix}",
                    code="signer.foreign_url",
                    hint="The signer's --url and the farm's public_url must be the same.",
                )

    def _demand_growth(self, wanted: note.Checkpoint, request: CheckpointRequest) -> None:
        last = self._last
        size, last_root = (0, merkle.EMPTY_ROOT) if last is None else (last.size, last.root)
        if wanted.size < size:
            raise Conflict(
                f"The log had {size} leaves at the last checkpoint and is now said to have {wanted.size}.",
                code="checkpoint.behind",
                hint="Take the journal's present size. If it really is shorter, it was rolled back.",
                last_size=size,
            )
        if wanted.size > size and request.old_size != size:
            raise Conflict(
                f"The proof starts from {request.old_size} leaves, the last checkpoint has {size}.",
                code="checkpoint.moved",
                hint="Ask for the signer's health and prove consistency from its checkpoint.",
                last_size=size,
            )
        proof = request.consistency_proof if wanted.size > size else ()
        try:
            merkle.verify_consistency(size, wanted.size, last_root, wanted.root, proof)
        except IntegrityFailure as error:
            raise IntegrityFailure(
                f"The log of {wanted.size} leaves does not continue the one of {size} leaves.",
                code="checkpoint.fork",
                hint="The journal was changed below its last checkpoint; restore it and look for the cause.",
            ) from error

    def _promise(self, proof: EntryProof, wanted: note.Checkpoint) -> tuple[int, int, bytes]:
        offset = self._entries.get(proof.entry_body_sha256)
        if offset is None:
            raise Forbidden(
                f"The entry at {proof.log_index} was not made by this signer.",
                code="checkpoint.unknown_entry",
                entry_body_sha256=proof.entry_body_sha256,
            )
        attested = Attested.from_json(self._record.at(offset)["attest"])
        body = attested.entry_body
        try:
            merkle.verify_inclusion(
                merkle.leaf_hash(body), proof.log_index, wanted.size, proof.inclusion_proof, wanted.root
            )
        except IntegrityFailure as error:
            raise IntegrityFailure(
                f"The entry is not at {proof.log_index} of the log.",
                code="checkpoint.not_included",
            ) from error
        payload = entry.timestamp_payload(body, self._log_id, proof.log_index, attested.integrated_time)
        return proof.log_index, attested.integrated_time, self._store.log.sign(payload)

    def _publish(self) -> None:
        folder = self._data / _PUBLIC
        folder.mkdir(exist_ok=True)
        folder.chmod(0o755)
        for name, data in root.documents(self._store).items():
            target, fresh = folder / name, folder / f"{name}.new"
            with contextlib.suppress(FileNotFoundError):
                if target.read_bytes() == data:
                    continue
            fresh.write_bytes(data)
            fresh.chmod(0o644)
            fresh.replace(target)


def _first_urls(facts: BuildFacts, home: str) -> list[tuple[str, str, str]]:
    if isinstance(facts, ReproductionFacts):
        return [("first_attempt_url", facts.first_attempt_url, home)]
    return []


def _issued(leaf: x509.Certificate, by: x509.Certificate) -> bool:
    try:
        leaf.verify_directly_issued_by(by)
    except (InvalidSignature, ValueError):
        return False
    return True


def _digest(file: int) -> FileDigest:
    if not stat.S_ISREG(os.fstat(file).st_mode):
        raise InvalidInput("What was handed over is not a regular file.", code="signer.no_file")
    state, size = hashlib.sha256(), 0
    try:
        while chunk := os.pread(file, _CHUNK, size):
            state.update(chunk)
            size += len(chunk)
    except OSError as error:
        raise InvalidInput(f"The file cannot be read: {error}", code="signer.no_file") from error
    return FileDigest(state.hexdigest(), size)
