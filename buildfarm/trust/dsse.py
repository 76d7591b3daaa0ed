"""DSSE envelopes (secure-systems-lab/dsse v1.0.0) around in-toto statements, signed with ECDSA P-256."""

from __future__ import annotations

import base64
import json

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from buildfarm.errors import IntegrityFailure

PAYLOAD_TYPE = "application/vnd.in-toto+json"


def pae(payload: bytes, payload_type: str = PAYLOAD_TYPE) -> bytes:
    """The bytes that the signature covers (DSSE protocol, "pre-authentication encoding")."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def sign(statement: bytes, key: ec.EllipticCurvePrivateKey) -> bytes:
    """A DER-encoded ECDSA-SHA256 signature over the statement's encoding."""
    return key.sign(pae(statement), ec.ECDSA(hashes.SHA256()))


def verify(statement: bytes, payload_type: str, signature: bytes, key: ec.EllipticCurvePublicKey) -> None:
    """Check a signature over a statement.

    Raises:
        IntegrityFailure: another key, other bytes or another payload type were signed.
    """
    try:
        key.verify(signature, pae(statement, payload_type), ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        raise IntegrityFailure(
            "The signature is not the certificate's over this statement.", code="verify.envelope-signature"
        ) from None


def envelope(statement: bytes, signature: bytes) -> bytes:
    """The envelope as canonical JSON: one signature, no `keyid` (Sigstore bundle v0.3)."""
    return json.dumps(
        {
            "payload": base64.b64encode(statement).decode(),
            "payloadType": PAYLOAD_TYPE,
            "signatures": [{"sig": base64.b64encode(signature).decode()}],
        },
        sort_keys=True,
        separators=(",", ":"),
    ).encode()
