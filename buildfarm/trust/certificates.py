"""The farm's own certificate chain: root CA, issuing CA, and a ten-minute leaf per statement.

The leaf follows Fulcio's certificate specification and its extension list (fulcio `oid-info.md`), and
carries one signed certificate timestamp (RFC 6962 section 3), since stock verifiers demand it. No
certificate log stands behind that timestamp: the leaf is public inside its entry of the farm's log.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import struct
from collections.abc import Mapping
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat import asn1
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LEAF_LIFETIME = dt.timedelta(minutes=10)
ROOT_LIFETIME = dt.timedelta(days=20 * 365)
#: Long, because a rotation changes the trusted root and a client pins that.
ISSUING_LIFETIME = dt.timedelta(days=5 * 365)

SCT_LIST = x509.ObjectIdentifier("1.3.6.1.4.1.11129.2.4.2")
_FULCIO = "1.3.6.1.4.1.57264.1."
#: The issuer as raw bytes; `sigstore verify identity` reads this one.
ISSUER_V1 = x509.ObjectIdentifier(_FULCIO + "1")
#: The issuer as a DER string, as are all that follow it.
ISSUER_V2 = x509.ObjectIdentifier(_FULCIO + "8")
#: Facts about the build, by the names that this farm gives them.
CLAIMS = {
    "build_signer_uri": x509.ObjectIdentifier(_FULCIO + "9"),
    "runner_environment": x509.ObjectIdentifier(_FULCIO + "11"),
    "repository_uri": x509.ObjectIdentifier(_FULCIO + "12"),
    "commit": x509.ObjectIdentifier(_FULCIO + "13"),
    "ref": x509.ObjectIdentifier(_FULCIO + "14"),
    "recipe_uri": x509.ObjectIdentifier(_FULCIO + "18"),
    "recipe_digest": x509.ObjectIdentifier(_FULCIO + "19"),
    "trigger": x509.ObjectIdentifier(_FULCIO + "20"),
    "run_uri": x509.ObjectIdentifier(_FULCIO + "21"),
}


@dataclass(frozen=True, slots=True)
class Issuer:
    """A CA certificate with its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


def new_root(origin: str, key: ec.EllipticCurvePrivateKey, moment: dt.datetime) -> x509.Certificate:
    """A self-signed root CA certificate, valid from `moment` (whole seconds)."""
    name = _name(origin, "root CA")
    builder = _ca(name, key.public_key(), moment, ROOT_LIFETIME, path_length=1)
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    builder = builder.issuer_name(name).add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False
    )
    return builder.sign(key, hashes.SHA256())


def new_issuing(
    origin: str, key: ec.EllipticCurvePublicKey, root: Issuer, moment: dt.datetime
) -> x509.Certificate:
    """A certificate for an issuing CA, signed by the root, valid from `moment` (whole seconds)."""
    name = _name(origin, f"issuing CA {moment:%Y-%m-%dT%H:%M:%SZ}")
    builder = _ca(name, key, moment, ISSUING_LIFETIME, path_length=0)
    builder = builder.issuer_name(root.certificate.subject).add_extension(_authority(root), critical=False)
    builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), critical=False)
    return builder.sign(root.key, hashes.SHA256())


def new_leaf(
    *,
    identity: str,
    oidc_issuer: str,
    claims: Mapping[str, str],
    key: ec.EllipticCurvePublicKey,
    issuing: Issuer,
    ct_key: ec.EllipticCurvePrivateKey,
    moment: dt.datetime,
) -> x509.Certificate:
    """A leaf certificate for one signature, with its certificate timestamp.

    Args:
        identity: the subject, a URI.
        oidc_issuer: the farm's public URL.
        claims: build facts by the names of this module's extension table.
        key: the new key that signs once and is then forgotten.
        issuing: the CA that signs.
        ct_key: signs the certificate timestamp.
        moment: start of validity, in whole seconds.
    """
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(issuing.certificate.subject)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(moment)
        .not_valid_after(moment + LEAF_LIFETIME)
        .add_extension(_usage(digital_signature=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(_authority(issuing), critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(identity)]), critical=True)
        .add_extension(x509.UnrecognizedExtension(ISSUER_V1, oidc_issuer.encode()), critical=False)
        .add_extension(x509.UnrecognizedExtension(ISSUER_V2, asn1.encode_der(oidc_issuer)), critical=False)
    )
    for name, value in claims.items():
        builder = builder.add_extension(
            x509.UnrecognizedExtension(CLAIMS[name], asn1.encode_der(value)), critical=False
        )
    # The timestamp covers the certificate without it; it is then appended as the last extension, so
    # that a verifier who takes it out again finds the very same bytes.
    bare = builder.sign(issuing.key, hashes.SHA256())
    timestamp = _timestamp(bare, issuing, ct_key, moment)
    return builder.add_extension(x509.UnrecognizedExtension(SCT_LIST, timestamp), critical=False).sign(
        issuing.key, hashes.SHA256()
    )


def key_id(key: ec.EllipticCurvePublicKey) -> bytes:
    """A certificate log's id: SHA-256 of the key's SubjectPublicKeyInfo (RFC 6962 section 3.2)."""
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()


def timestamp_payload(tbs: bytes, issuer_key: ec.EllipticCurvePublicKey, milliseconds: int) -> bytes:
    """What a certificate timestamp signs for a precertificate (RFC 6962 section 3.2)."""
    return b"".join(
        (
            struct.pack("!BBQH", 0, 0, milliseconds, 1),
            key_id(issuer_key),
            len(tbs).to_bytes(3, "big"),
            tbs,
            struct.pack("!H", 0),
        )
    )


def _timestamp(
    bare: x509.Certificate, issuing: Issuer, ct_key: ec.EllipticCurvePrivateKey, moment: dt.datetime
) -> bytes:
    milliseconds = int(moment.timestamp()) * 1000
    payload = timestamp_payload(bare.tbs_certificate_bytes, issuing.key.public_key(), milliseconds)
    signature = ct_key.sign(payload, ec.ECDSA(hashes.SHA256()))
    sct = b"".join(
        (
            struct.pack("!B32sQH", 0, key_id(ct_key.public_key()), milliseconds, 0),
            bytes((4, 3)),  # SHA-256, ECDSA (RFC 5246 section 7.4.1.4.1)
            struct.pack("!H", len(signature)),
            signature,
        )
    )
    listed = struct.pack("!HH", len(sct) + 2, len(sct)) + sct
    return asn1.encode_der(listed)


def _ca(
    name: x509.Name,
    key: ec.EllipticCurvePublicKey,
    moment: dt.datetime,
    lifetime: dt.timedelta,
    *,
    path_length: int,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(moment)
        .not_valid_after(moment + lifetime)
        .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(_usage(key_cert_sign=True, crl_sign=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _name(origin: str, what: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "buildfarm"),
            # X.520 allows 64 characters here; the origin is only for people's eyes.
            x509.NameAttribute(NameOID.COMMON_NAME, f"{what} of {origin}"[:64]),
        ]
    )


def _authority(issuer: Issuer) -> x509.AuthorityKeyIdentifier:
    identifier = x509.SubjectKeyIdentifier.from_public_key(issuer.key.public_key())
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)


def _usage(
    *, digital_signature: bool = False, key_cert_sign: bool = False, crl_sign: bool = False
) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        encipher_only=False,
        decipher_only=False,
    )
