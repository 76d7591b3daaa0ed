"""The signer's key store: made at first start, private keys in files that only its user can read.

```
keys/home.json                the URL under which the farm was founded: fixes the log's origin for ever
keys/root/key.pem             root CA key, read only to issue an issuing CA; certificate.pem beside it
keys/issuing/<n>/key.pem      issuing CAs in order, of which the last one signs; certificate.pem beside it
keys/log.pem  keys/ct.pem     log key (Ed25519), certificate-timestamp key (P-256)
```
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from buildfarm import clock
from buildfarm.errors import EnvironmentProblem
from buildfarm.trust import certificates

_PRIVATE = 0o600
_FOLDER = 0o700


@dataclass(frozen=True, slots=True)
class KeyStore:
    """The keys in use, and the certificate of every issuing CA so far."""

    home: str
    origin: str
    root: x509.Certificate
    #: Oldest first; the last one is `issuing`'s.
    issued: tuple[x509.Certificate, ...]
    issuing: certificates.Issuer
    log: ed25519.Ed25519PrivateKey
    ct: ec.EllipticCurvePrivateKey


def open_or_create(data: Path, public_url: str) -> KeyStore:
    """The key store under `data`; made whole, or not at all, where there is none.

    Args:
        data: the signer's data directory.
        public_url: the farm's URL; names the log when the store is made, otherwise not used.

    Raises:
        EnvironmentProblem: there is a store that cannot be read.
    """
    folder = data / "keys"
    if not folder.exists():
        _create(folder, public_url)
    try:
        return _load(folder)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EnvironmentProblem(
            f"The signer's keys under {folder.absolute()} cannot be read: {error}",
            code="signer.keys",
            hint="Restore this folder from a backup; new keys would mean a new log that clients refuse.",
        ) from error


def rotate(data: Path) -> KeyStore:
    """Put a new issuing CA, signed by the root CA, in the place of the present one."""
    folder = data / "keys"
    store = _load(folder)
    root = certificates.Issuer(store.root, _ec_key(folder / "root" / "key.pem"))
    last = max(int(part.name) for part in _issuing_folders(folder))
    _issue(folder / "issuing", last + 1, store.origin, root)
    return _load(folder)


def log_origin(public_url: str) -> str:
    """The log's name: the URL without its scheme, as C2SP tlog-checkpoint advises."""
    parts = urlsplit(public_url)
    return f"{parts.netloc}{parts.path.rstrip('/')}/log"


def _create(folder: Path, public_url: str) -> None:
    origin, moment = log_origin(public_url), clock.now().replace(microsecond=0)
    fresh = folder.with_name("keys.new")
    shutil.rmtree(fresh, ignore_errors=True)
    for part in (fresh, fresh / "root", fresh / "issuing"):
        part.mkdir(mode=_FOLDER)
    root_key = ec.generate_private_key(ec.SECP256R1())
    root = certificates.Issuer(certificates.new_root(origin, root_key, moment), root_key)
    _write_key(fresh / "root" / "key.pem", root_key)
    _write(fresh / "root" / "certificate.pem", root.certificate.public_bytes(Encoding.PEM))
    _issue(fresh / "issuing", 0, origin, root)
    _write_key(fresh / "log.pem", ed25519.Ed25519PrivateKey.generate())
    _write_key(fresh / "ct.pem", ec.generate_private_key(ec.SECP256R1()))
    _write(fresh / "home.json", json.dumps({"home": public_url, "origin": origin}).encode())
    fresh.rename(folder)
    _sync_folder(folder.parent)


def _issue(folder: Path, number: int, origin: str, root: certificates.Issuer) -> None:
    fresh = folder / f"{number:04}.new"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(mode=_FOLDER)
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = certificates.new_issuing(origin, key.public_key(), root, clock.now().replace(microsecond=0))
    _write_key(fresh / "key.pem", key)
    _write(fresh / "certificate.pem", certificate.public_bytes(Encoding.PEM))
    fresh.rename(folder / f"{number:04}")
    _sync_folder(folder)


def _load(folder: Path) -> KeyStore:
    home = json.loads((folder / "home.json").read_bytes())
    chain = _issuing_folders(folder)
    issued = tuple(_certificate(part / "certificate.pem") for part in chain)
    log = load_pem_private_key((folder / "log.pem").read_bytes(), None)
    if not isinstance(log, ed25519.Ed25519PrivateKey):
        msg = "log.pem holds no Ed25519 key"
        raise TypeError(msg)
    return KeyStore(
        home=str(home["home"]),
        origin=str(home["origin"]),
        root=_certificate(folder / "root" / "certificate.pem"),
        issued=issued,
        issuing=certificates.Issuer(issued[-1], _ec_key(chain[-1] / "key.pem")),
        log=log,
        ct=_ec_key(folder / "ct.pem"),
    )


def _issuing_folders(folder: Path) -> list[Path]:
    return sorted(part for part in (folder / "issuing").iterdir() if part.suffix != ".new")


def _certificate(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def _ec_key(path: Path) -> ec.EllipticCurvePrivateKey:
    key = load_pem_private_key(path.read_bytes(), None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        msg = f"{path.name} holds no EC key"
        raise TypeError(msg)
    return key


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey) -> None:
    _write(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def _write(path: Path, data: bytes) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _PRIVATE), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
