"""Sigstore bundle v0.3 and its PEP 740 forms: made from the signer's answers, and read strictly.

Formats: Sigstore protobuf-specs `sigstore_bundle.proto` and `sigstore_rekor.proto` in JSON, PEP 740.
64-bit integers are strings there.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cryptography import x509

from buildfarm.errors import InvalidInput
from buildfarm.trust import dsse, entry, note

if TYPE_CHECKING:  # a verifier imports this file and needs none of the signer's libraries
    from buildfarm.trust.messages import SignedCheckpoint
    from buildfarm.trust.mint import Attested

MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
#: Media type of a PEP 740 provenance document as it is served.
PROVENANCE_MEDIA_TYPE = "application/vnd.pypi.integrity.v1+json"
_MAX = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle taken apart; every field is a claim until `verify` has looked at it."""

    certificate: x509.Certificate
    statement: bytes
    payload_type: str
    signature: bytes
    entry_kind: str
    entry_version: str
    entry_body: bytes
    log_id: bytes
    log_index: int
    #: Seconds since 1970.
    integrated_time: int
    signed_timestamp: bytes
    proof_index: int
    proof_size: int
    proof_root: bytes
    proof_hashes: tuple[bytes, ...]
    note: note.Note


def assemble(
    attested: Attested, checkpoint: SignedCheckpoint, log_index: int, inclusion_proof: Sequence[bytes]
) -> bytes:
    """The bundle's JSON.

    Args:
        attested: the signer's answer to `attest`.
        checkpoint: its answer to `checkpoint`, in which `log_index` must be promised.
        log_index: index of the entry in the log.
        inclusion_proof: hashes from the leaf upwards, for the checkpoint's size.

    Raises:
        InvalidInput: the checkpoint's answer says nothing about that index.
    """
    promise = next((each for each in checkpoint.promises if each[0] == log_index), None)
    if promise is None:
        raise InvalidInput(f"The checkpoint promises nothing about entry {log_index}.", code="bundle.promise")
    _index, integrated_time, signed_timestamp = promise
    state = note.parse(checkpoint.note).checkpoint
    return _dump(
        {
            "mediaType": MEDIA_TYPE,
            "verificationMaterial": {
                "certificate": {"rawBytes": _b64(attested.certificate)},
                "tlogEntries": [
                    {
                        "logIndex": str(log_index),
                        "logId": {"keyId": _b64(checkpoint.log_id)},
                        "kindVersion": {"kind": entry.KIND, "version": entry.VERSION},
                        "integratedTime": str(integrated_time),
                        "inclusionPromise": {"signedEntryTimestamp": _b64(signed_timestamp)},
                        "inclusionProof": {
                            "logIndex": str(log_index),
                            "rootHash": _b64(state.root),
                            "treeSize": str(state.size),
                            "hashes": [_b64(each) for each in inclusion_proof],
                            "checkpoint": {"envelope": checkpoint.note},
                        },
                        "canonicalizedBody": _b64(attested.entry_body),
                    }
                ],
            },
            "dsseEnvelope": json.loads(attested.envelope),
        }
    )


def parse(data: bytes) -> Bundle:
    """Take a bundle apart.

    Raises:
        InvalidInput: it is no bundle v0.3 with one envelope, one signature and one log entry.
    """
    try:
        if len(data) > _MAX:
            raise _malformed("it is larger than 16 MiB")
        return _take_apart(json.loads(data))
    except (ValueError, KeyError, TypeError, RecursionError, x509.InvalidVersion) as error:
        raise _malformed(f"{type(error).__name__}: {error}") from error


def attestation_object(data: bytes) -> dict[str, Any]:
    """A bundle that `parse` or `from_attestation` knows, as a PEP 740 attestation object."""
    bundle = json.loads(data)
    material, envelope = bundle["verificationMaterial"], bundle["dsseEnvelope"]
    return {
        "version": 1,
        "verification_material": {
            "certificate": material["certificate"]["rawBytes"],
            "transparency_entries": material["tlogEntries"],
        },
        "envelope": {"statement": envelope["payload"], "signature": envelope["signatures"][0]["sig"]},
    }


def from_attestation(value: object) -> bytes:
    """The bundle that a PEP 740 attestation object stands for; the inverse of `attestation_object`.

    What is inside stays unread: `parse` reads a farm's, `public` one of a Sigstore service.

    Raises:
        InvalidInput: it is no attestation object.
    """
    try:
        if not isinstance(value, dict) or value["version"] != 1:
            raise _malformed("it is no attestation object of version 1")
        material, envelope = value["verification_material"], value["envelope"]
        return _dump(
            {
                "mediaType": MEDIA_TYPE,
                "verificationMaterial": {
                    "certificate": {"rawBytes": material["certificate"]},
                    "tlogEntries": material["transparency_entries"],
                },
                "dsseEnvelope": {
                    "payload": envelope["statement"],
                    "payloadType": dsse.PAYLOAD_TYPE,
                    "signatures": [{"sig": envelope["signature"]}],
                },
            }
        )
    except (KeyError, TypeError, UnicodeEncodeError) as error:
        raise _malformed(f"the attestation lacks {error}") from error


def provenance(data: bytes) -> bytes:
    """The PEP 740 provenance document of one file, with the publisher kind `buildfarm`.

    No other service's kind is borrowed: PEP 740 leaves kinds open, and a false one would be a lie.

    Raises:
        InvalidInput: it is no bundle of a build statement.
    """
    try:
        predicate = json.loads(parse(data).statement)["predicate"]
        definition, builder = predicate["buildDefinition"], predicate["runDetails"]["builder"]["id"]
        publisher = {
            "kind": "buildfarm",
            "instance": str(builder).partition("/builders/")[0],
            "project": definition["internalParameters"]["project"],
            "source": definition["externalParameters"]["source"]["uri"],
            "recipe": definition["externalParameters"]["recipe"]["path"],
            "builder": builder,
        }
    except (ValueError, KeyError, TypeError) as error:
        raise _malformed("it holds no build statement of this farm") from error
    attestations = [attestation_object(data)]
    return _dump(
        {
            "version": 1,
            "attestation_bundles": [{"publisher": publisher, "attestations": attestations}],
        }
    )


def _take_apart(value: dict[str, Any]) -> Bundle:
    if value["mediaType"] != MEDIA_TYPE:
        raise _malformed(f"its media type is {value['mediaType']!r}")
    material, envelope = value["verificationMaterial"], value["dsseEnvelope"]
    (log_entry,) = material["tlogEntries"]
    (signature,) = envelope["signatures"]
    proof = log_entry["inclusionProof"]
    return Bundle(
        certificate=x509.load_der_x509_certificate(_unb64(material["certificate"]["rawBytes"])),
        statement=_unb64(envelope["payload"]),
        payload_type=_text(envelope["payloadType"]),
        signature=_unb64(signature["sig"]),
        entry_kind=_text(log_entry["kindVersion"]["kind"]),
        entry_version=_text(log_entry["kindVersion"]["version"]),
        entry_body=_unb64(log_entry["canonicalizedBody"]),
        log_id=_unb64(log_entry["logId"]["keyId"]),
        log_index=_integer(log_entry["logIndex"]),
        integrated_time=_integer(log_entry["integratedTime"]),
        signed_timestamp=_unb64(log_entry["inclusionPromise"]["signedEntryTimestamp"]),
        proof_index=_integer(proof["logIndex"]),
        proof_size=_integer(proof["treeSize"]),
        proof_root=_unb64(proof["rootHash"]),
        proof_hashes=tuple(_unb64(each) for each in _list(proof["hashes"])),
        note=note.parse(_text(proof["checkpoint"]["envelope"])),
    )


def _integer(value: object) -> int:
    """A protobuf int64 in JSON: a decimal string in its one form."""
    text = _text(value)
    if len(text) > 19 or not text.isascii() or not text.isdecimal() or str(int(text)) != text:
        raise _malformed(f"{text[:40]!r} is no index, size or time")
    return int(text)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise _malformed("a text is missing")
    return value


def _list(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise _malformed("a list is missing")
    return value


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _unb64(value: object) -> bytes:
    data = base64.b64decode(_text(value), validate=True)
    if _b64(data) != value:
        raise _malformed("a base64 value is not written in its one form")
    return data


def _dump(value: dict[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def _malformed(why: str) -> InvalidInput:
    return InvalidInput(
        f"This is no Sigstore bundle of a build: {why}.",
        code="bundle.malformed",
        hint="Fetch the bundle again; it is served beside the file as <file>.sigstore.json.",
    )
