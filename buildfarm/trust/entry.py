"""What the log holds for a signed statement: the `dsse 0.0.1` entry and its signed timestamp.

This is the one place that knows the entry's kind, so that a second kind can be added beside it.
The formats are those of Rekor v1 (`dsse_v0_0_1_schema.json`, LogEntryAnon's signedEntryTimestamp),
the only ones that stock Python and JavaScript verifiers and PEP 740 accept alike.
"""

from __future__ import annotations

import base64
import hashlib
import json

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

KIND = "dsse"
VERSION = "0.0.1"


def body(statement: bytes, envelope: bytes, signature: bytes, certificate: x509.Certificate) -> bytes:
    """The entry's canonical bytes, which are the journal row's leaf.

    Args:
        statement: the signed payload.
        envelope: the envelope's JSON; its digest is for auditors, no client checks it.
        signature: the envelope's one signature.
        certificate: the leaf; the log holds its PEM text, base64 once more.
    """
    pem = certificate.public_bytes(Encoding.PEM)
    return canonical(
        {
            "apiVersion": VERSION,
            "kind": KIND,
            "spec": {
                "envelopeHash": {"algorithm": "sha256", "value": hashlib.sha256(envelope).hexdigest()},
                "payloadHash": {"algorithm": "sha256", "value": hashlib.sha256(statement).hexdigest()},
                "signatures": [{"signature": _b64(signature), "verifier": _b64(pem)}],
            },
        }
    )


def timestamp_payload(entry_body: bytes, log_id: bytes, log_index: int, integrated_time: int) -> bytes:
    """What the signed entry timestamp (SET) covers.

    Args:
        entry_body: the entry's canonical bytes.
        log_id: 32 bytes.
        log_index: the entry's index in the log.
        integrated_time: seconds since 1970.
    """
    return canonical(
        {
            "body": _b64(entry_body),
            "integratedTime": integrated_time,
            "logID": log_id.hex(),
            "logIndex": log_index,
        }
    )


def canonical(value: dict[str, object]) -> bytes:
    """RFC 8785 bytes of a value with ASCII strings and integers below 2**53 only.

    For such values RFC 8785 is sorted keys without white space, so a verifier needs no library.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode("ascii")


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()
