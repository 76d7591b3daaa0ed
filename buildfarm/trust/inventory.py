"""The farm's keys as people ask for them, read from the public trusted root: no private key, no signer."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from buildfarm.errors import NotFound
from buildfarm.trust.root import TrustedRoot, Window

ROOT_CA, ISSUING_CA, LOG, TIMESTAMP = "root-ca", "issuing-ca", "log", "certificate-timestamp"


@dataclass(frozen=True)
class KeyRow:
    """One public key; `id` is the log id, or the SHA-256 of the certificate.

    `state` is `in use`, or `retired`: trusted for what it signed before `until`.
    """

    id: str
    kind: str
    algorithm: str
    since: datetime
    until: datetime | None
    state: str


@dataclass(frozen=True)
class KeyDetail(KeyRow):
    """A key with its certificate, or where it has none its public key, as PEM."""

    pem: str


def keys(trusted: TrustedRoot) -> list[KeyDetail]:
    """Every key of the trusted root, the newest of each kind first; a root CA once."""
    found: dict[str, KeyDetail] = {}
    for authority in reversed(trusted.authorities):
        issuing, *above = authority.chain
        _add(found, _certificate(ISSUING_CA, issuing, authority.window.end))
        for certificate in above:
            _add(found, _certificate(ROOT_CA, certificate, None))
    for log in trusted.logs:
        _add(found, _bare(LOG, "Ed25519", log.log_id, log.key, log.window))
    for stamp in trusted.timestamp_keys:
        _add(found, _bare(TIMESTAMP, "P-256", stamp.log_id, stamp.key, stamp.window))
    return list(found.values())


def key(trusted: TrustedRoot, key_id: str) -> KeyDetail:
    """One key, by its id or the beginning of it, at least 8 digits.

    Raises:
        NotFound: `key.unknown`, none or several begin so.
    """
    found = [each for each in keys(trusted) if len(key_id) >= 8 and each.id.startswith(key_id.lower())]
    if len(found) != 1:
        raise NotFound(
            f"The trusted root has no key {key_id[:80]}.",
            code="key.unknown",
            hint="`buildfarm key list` has all.",
        )
    return found[0]


def _add(found: dict[str, KeyDetail], detail: KeyDetail) -> None:
    found.setdefault(detail.id, detail)


def _certificate(kind: str, certificate: x509.Certificate, retired: datetime | None) -> KeyDetail:
    return KeyDetail(
        id=hashlib.sha256(certificate.public_bytes(Encoding.DER)).hexdigest(),
        kind=kind,
        algorithm="P-256",
        since=certificate.not_valid_before_utc,
        until=retired or certificate.not_valid_after_utc,
        state="retired" if retired else "in use",
        pem=certificate.public_bytes(Encoding.PEM).decode(),
    )


def _bare(
    kind: str,
    algorithm: str,
    key_id: bytes,
    public: ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey,
    window: Window,
) -> KeyDetail:
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    state = "retired" if window.end else "in use"
    return KeyDetail(key_id.hex(), kind, algorithm, window.start, window.end, state, pem)
