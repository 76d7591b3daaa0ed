"""What the farm shows to clients of https: an authority of its own, and certificates that it signs.

An authority's certificate is no server's certificate: uv refuses one used so (`CaUsedAsEndEntity`), pip
does too. So there are two: clients trust `ca.pem`, the front shows `server.pem` (RFC 5280 section 4.2.1).
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from buildfarm import clock
from buildfarm.errors import EnvironmentProblem

#: Apple's limit for a server's certificate is 825 days, whoever signed it.
_SERVER_DAYS, _AUTHORITY_DAYS = 397, 3650
#: What is left when a certificate is made anew.
_RENEW_DAYS = 60
_SKEW = timedelta(hours=1)
_NO_USE = {
    "digital_signature": False, "content_commitment": False, "key_encipherment": False,
    "data_encipherment": False, "key_agreement": False, "key_cert_sign": False, "crl_sign": False,
    "encipher_only": False, "decipher_only": False,
}  # fmt: skip


@dataclass(frozen=True)
class Identity:
    """Files in PEM: what clients trust, what the server shows, and its key."""

    authority: Path
    certificate: Path
    key: Path


def identity_in(folder: Path) -> Identity:
    """Where a folder has or will have its identity."""
    return Identity(folder / "ca.pem", folder / "server.pem", folder / "server.key")


def ensure(folder: Path, names: Iterable[str]) -> Identity:
    """Make what is missing, ends within 60 days or is for other names; `names` are DNS names and addresses.

    The authority stays as long as it lasts: clients have a copy of it.

    Raises:
        EnvironmentProblem: `tls.unreadable`, what is in the folder is no identity of ours.
    """
    folder.mkdir(exist_ok=True)
    folder.chmod(0o711)  # every user of the machine may read `ca.pem`; the keys are closed themselves
    found, wanted = identity_in(folder), sorted(set(names))
    authority_key_file = folder / "ca.key"
    now = clock.now()
    try:
        if not found.authority.exists() or _ends_soon(_load(found.authority), now):
            _make_authority(found.authority, authority_key_file, now)
        authority = _load(found.authority)
        if found.certificate.exists() and found.key.exists():
            server = _load(found.certificate)
            is_ours = server.issuer == authority.subject and _names_of(server) == wanted
            if is_ours and not _ends_soon(server, now):
                return found
        _make_server(found, authority, _load_key(authority_key_file), wanted, now)
    except (OSError, ValueError) as err:
        message = f"The certificates in {folder} cannot be read: {err}."
        raise EnvironmentProblem(
            message, code="tls.unreadable", hint="Remove the folder; clients must then trust the new ca.pem."
        ) from err
    return found


def _make_authority(path: Path, key_path: Path, now: datetime) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    # A name of its own: clients may know several farms.
    name = _name(f"buildfarm authority {os.urandom(4).hex()}")
    certificate = (
        _builder(name, name, key.public_key(), now, _AUTHORITY_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.KeyUsage(**_NO_USE | {"key_cert_sign": True, "crl_sign": True}), critical=True)
        .sign(key, hashes.SHA256())
    )
    _write(key_path, _private(key), 0o600)
    _write(path, _public(certificate), 0o644)


def _make_server(
    files: Identity, authority: x509.Certificate, authority_key: ec.EllipticCurvePrivateKey,
    names: list[str], now: datetime,
) -> None:  # fmt: skip
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = (
        _builder(_name("buildfarm"), authority.subject, key.public_key(), now, _SERVER_DAYS)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(**_NO_USE | {"digital_signature": True}), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([_general(name) for name in names]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False
        )
        .sign(authority_key, hashes.SHA256())
    )
    # The key first: whoever finds a new certificate beside the old key starts anew at the next look.
    _write(files.key, _private(key), 0o600)
    _write(files.certificate, _public(certificate), 0o644)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime, days: int
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name.encode("idna").decode())


def _names_of(certificate: x509.Certificate) -> list[str]:
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return sorted(str(name.value) for name in names)


def _ends_soon(certificate: x509.Certificate, now: datetime) -> bool:
    return certificate.not_valid_after_utc - now < timedelta(days=_RENEW_DAYS)


def _load(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def _load_key(path: Path) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(path.read_bytes(), None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError(f"{path.name} is no key of a curve")
    return key


def _private(key: ec.EllipticCurvePrivateKey) -> bytes:
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())


def _public(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _write(path: Path, data: bytes, mode: int) -> None:
    temporary = path.with_name(path.name + ".new")
    temporary.unlink(missing_ok=True)
    with os.fdopen(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode), "wb") as out:
        out.write(data)
    temporary.rename(path)
