"""Makes one signed statement: a new leaf key and certificate, the envelope, the log entry."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from buildfarm.trust import certificates, dsse, entry, statement
from buildfarm.trust.facts import BuildFacts


@dataclass(frozen=True, slots=True)
class Attested:
    """A signed statement and everything a bundle needs apart from its place in the log.

    Only `statement`, `signature`, `certificate` (DER) and the time are primary; the envelope and the
    entry body follow from them, byte for byte.
    """

    statement: bytes
    signature: bytes
    certificate: bytes
    file_sha256: str
    #: Size of the file in bytes.
    size: int
    #: Seconds since 1970: when the signer made it, and so the entry's time.
    integrated_time: int

    @property
    def envelope(self) -> bytes:
        """The DSSE envelope's JSON."""
        return dsse.envelope(self.statement, self.signature)

    @property
    def entry_body(self) -> bytes:
        """The log entry: the leaf of the journal's `attest` row."""
        certificate = x509.load_der_x509_certificate(self.certificate)
        return entry.body(self.statement, self.envelope, self.signature, certificate)

    def as_json(self) -> dict[str, str | int]:
        """The primary parts, for the signer's record and for the socket."""
        return {
            "statement": self.statement.decode(),
            "signature": base64.b64encode(self.signature).decode(),
            "certificate": base64.b64encode(self.certificate).decode(),
            "file_sha256": self.file_sha256,
            "size": self.size,
            "integrated_time": self.integrated_time,
        }

    @classmethod
    def from_json(cls, value: dict[str, str | int]) -> Attested:
        """The inverse of `as_json`.

        Raises:
            KeyError, ValueError: it is no such value.
        """
        return cls(
            statement=str(value["statement"]).encode(),
            signature=base64.b64decode(str(value["signature"]), validate=True),
            certificate=base64.b64decode(str(value["certificate"]), validate=True),
            file_sha256=str(value["file_sha256"]),
            size=int(value["size"]),
            integrated_time=int(value["integrated_time"]),
        )


@dataclass(frozen=True, slots=True)
class FileDigest:
    """What the signer found when it read a file's bytes itself."""

    sha256: str
    size: int


def mint(
    facts: BuildFacts,
    digest: FileDigest,
    *,
    public_url: str,
    issuing: certificates.Issuer,
    ct_key: ec.EllipticCurvePrivateKey,
    moment: dt.datetime,
) -> Attested:
    """Compose and sign the statement about one file; the leaf key is gone when this returns."""
    moment = moment.replace(microsecond=0)
    payload = statement.compose(facts, digest.sha256, public_url)
    leaf_key = ec.generate_private_key(ec.SECP256R1())
    leaf = certificates.new_leaf(
        identity=facts.identity,
        oidc_issuer=public_url,
        claims=_claims(facts, public_url),
        key=leaf_key.public_key(),
        issuing=issuing,
        ct_key=ct_key,
        moment=moment,
    )
    return Attested(
        statement=payload,
        signature=dsse.sign(payload, leaf_key),
        certificate=leaf.public_bytes(Encoding.DER),
        file_sha256=digest.sha256,
        size=digest.size,
        integrated_time=int(moment.timestamp()),
    )


def facts_digest(facts: BuildFacts) -> str:
    """SHA-256 of the facts in their canonical form: equal for a retry, unlike for another claim."""
    return hashlib.sha256(entry.canonical(facts.model_dump(mode="json"))).hexdigest()


def _claims(facts: BuildFacts, public_url: str) -> dict[str, str]:
    source = facts.source_uri.removeprefix("git+")
    return {
        "build_signer_uri": statement.builder_id(facts, public_url),
        "runner_environment": "self-hosted",
        "repository_uri": source,
        "commit": facts.commit,
        "ref": facts.ref,
        "recipe_uri": f"{facts.recipe_uri.removeprefix('git+')}/{facts.recipe_path}@{facts.ref}",
        "recipe_digest": facts.recipe_sha256,
        "trigger": facts.trigger,
        "run_uri": facts.attempt_url,
    }
