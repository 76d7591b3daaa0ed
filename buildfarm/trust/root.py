"""The trusted root: which keys and authorities a verifier believes.

The documents follow Sigstore's protobuf-specs (`sigstore_trustroot.proto`) in their JSON form, so that
unmodified Sigstore clients take them: `trusted_root.json` and `signing_config.v0.2.json` as TUF targets,
`client_trust_config.json` for `sigstore --trust-config`.
"""

from __future__ import annotations

import base64
import datetime as dt
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from buildfarm.clock import iso_seconds
from buildfarm.errors import InvalidInput
from buildfarm.trust import certificates, note

if TYPE_CHECKING:  # a verifier imports this file and has no keys
    from buildfarm.trust.keys import KeyStore

TRUSTED_ROOT = "trusted_root.json"
SIGNING_CONFIG = "signing_config.v0.2.json"
CLIENT_TRUST_CONFIG = "client_trust_config.json"

_ROOT_TYPE = "application/vnd.dev.sigstore.trustedroot+json;version=0.1"
_SIGNING_TYPE = "application/vnd.dev.sigstore.signingconfig.v0.2+json"
_CLIENT_TYPE = "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json"
_MAX = 1024 * 1024
_UNREADABLE = (
    OSError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    RecursionError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
)


@dataclass(frozen=True, slots=True)
class Window:
    """When a key or authority may have signed; without an end it still may."""

    start: dt.datetime
    end: dt.datetime | None

    def contains(self, moment: dt.datetime) -> bool:
        """Whether `moment` is inside, both ends included."""
        return self.start <= moment and (self.end is None or moment <= self.end)


@dataclass(frozen=True, slots=True)
class LogKey:
    """The key of the farm's log, which signs checkpoints and entry timestamps."""

    log_id: bytes
    key: ed25519.Ed25519PublicKey
    window: Window


@dataclass(frozen=True, slots=True)
class TimestampKey:
    """The key that signs certificate timestamps (RFC 6962's log, of which there is but the form)."""

    log_id: bytes
    key: ec.EllipticCurvePublicKey
    window: Window


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate chain from an issuing CA to its root."""

    uri: str
    chain: tuple[x509.Certificate, ...]
    window: Window


@dataclass(frozen=True, slots=True)
class TrustedRoot:
    """What a verifier believes. Everything is looked up by id; nothing is tried in turn."""

    logs: tuple[LogKey, ...]
    timestamp_keys: tuple[TimestampKey, ...]
    authorities: tuple[Authority, ...]

    @property
    def homes(self) -> frozenset[str]:
        """The URLs of the farms whose authorities these are."""
        return frozenset(authority.uri for authority in self.authorities)


def documents(store: KeyStore) -> dict[str, bytes]:
    """The public documents by file name; the same store always gives the same bytes."""
    trusted, signing = _trusted_root(store), _signing_config(store)
    client = {"mediaType": _CLIENT_TYPE, "trustedRoot": trusted, "signingConfig": signing}
    return {
        TRUSTED_ROOT: _dump(trusted),
        SIGNING_CONFIG: _dump(signing),
        CLIENT_TRUST_CONFIG: _dump(client),
    }


def load(source: bytes | Path) -> TrustedRoot:
    """Read a `trusted_root.json`.

    Raises:
        InvalidInput: it cannot be read, or holds a kind of key that this farm does not make.
    """
    try:
        data = source.read_bytes() if isinstance(source, Path) else source
        if len(data) > _MAX:
            raise InvalidInput("The trusted root is larger than a megabyte.", code="root.malformed")
        value = json.loads(data)
        if value["mediaType"] != _ROOT_TYPE:
            raise InvalidInput(
                f"The trusted root has the media type {value['mediaType']!r}.",
                code="root.malformed",
                hint="Give the file trusted_root.json, not the client trust config around it.",
            )
        return TrustedRoot(
            logs=tuple(_log_key(item) for item in value["tlogs"]),
            timestamp_keys=tuple(_timestamp_key(item) for item in value["ctlogs"]),
            authorities=tuple(_authority(item) for item in value["certificateAuthorities"]),
        )
    except _UNREADABLE as error:
        raise InvalidInput(
            f"The trusted root cannot be read: {error}",
            code="root.malformed",
            hint="Fetch trusted_root.json from the farm again, or ask its administrator for it.",
        ) from error


def _trusted_root(store: KeyStore) -> dict[str, Any]:
    log_key, ct_key = store.log.public_key(), store.ct.public_key()
    start = store.root.not_valid_before_utc
    return {
        "mediaType": _ROOT_TYPE,
        "tlogs": [
            _key_instance(store.home, note.log_id(store.origin, log_key), log_key, "PKIX_ED25519", start)
        ],
        "certificateAuthorities": [
            _ca_instance(store, certificate, successor)
            for certificate, successor in zip(store.issued, (*store.issued[1:], None), strict=True)
        ],
        "ctlogs": [
            _key_instance(store.home, certificates.key_id(ct_key), ct_key, "PKIX_ECDSA_P256_SHA_256", start)
        ],
        "timestampAuthorities": [],
    }


def _key_instance(
    home: str,
    log_id: bytes,
    key: ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey,
    details: str,
    start: dt.datetime,
) -> dict[str, Any]:
    return {
        "baseUrl": home,
        "hashAlgorithm": "SHA2_256",
        "publicKey": {
            "rawBytes": _b64(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)),
            "keyDetails": details,
            "validFor": {"start": iso_seconds(start)},
        },
        "logId": {"keyId": _b64(log_id)},
    }


def _ca_instance(
    store: KeyStore, certificate: x509.Certificate, successor: x509.Certificate | None
) -> dict[str, Any]:
    window = {"start": iso_seconds(certificate.not_valid_before_utc)}
    if successor is not None:
        window["end"] = iso_seconds(successor.not_valid_before_utc)
    chain = [{"rawBytes": _b64(each.public_bytes(Encoding.DER))} for each in (certificate, store.root)]
    return {
        "subject": {"organization": "buildfarm", "commonName": store.origin},
        "uri": store.home,
        "certChain": {"certificates": chain},
        "validFor": window,
    }


def _signing_config(store: KeyStore) -> dict[str, Any]:
    # The farm signs for nobody else, but Sigstore clients demand this document before they verify.
    start = iso_seconds(store.root.not_valid_before_utc)
    service = {
        "url": store.home,
        "majorApiVersion": 1,
        "validFor": {"start": start},
        "operator": store.origin,
    }
    return {
        "mediaType": _SIGNING_TYPE,
        "caUrls": [service],
        "oidcUrls": [service],
        "rekorTlogUrls": [service],
        "tsaUrls": [],
        "rekorTlogConfig": {"selector": "ANY"},
        "tsaConfig": {"selector": "ANY"},
    }


def _log_key(item: dict[str, Any]) -> LogKey:
    key = load_der_public_key(_unb64(item["publicKey"]["rawBytes"]))
    if not isinstance(key, ed25519.Ed25519PublicKey):
        msg = "a log key is not Ed25519"
        raise TypeError(msg)
    return LogKey(_unb64(item["logId"]["keyId"]), key, _window(item["publicKey"]["validFor"]))


def _timestamp_key(item: dict[str, Any]) -> TimestampKey:
    key = load_der_public_key(_unb64(item["publicKey"]["rawBytes"]))
    if not isinstance(key, ec.EllipticCurvePublicKey):
        msg = "a certificate-timestamp key is not an EC key"
        raise TypeError(msg)
    return TimestampKey(_unb64(item["logId"]["keyId"]), key, _window(item["publicKey"]["validFor"]))


def _authority(item: dict[str, Any]) -> Authority:
    chain = tuple(
        x509.load_der_x509_certificate(_unb64(each["rawBytes"])) for each in item["certChain"]["certificates"]
    )
    if not chain:
        msg = "an authority has no certificate"
        raise ValueError(msg)
    return Authority(str(item["uri"]), chain, _window(item["validFor"]))


def _window(value: dict[str, Any]) -> Window:
    end = value.get("end")
    return Window(_moment(value["start"]), None if end is None else _moment(end))


def _moment(text: str) -> dt.datetime:
    moment = dt.datetime.fromisoformat(text)
    if moment.tzinfo is None:
        msg = f"{text} has no time zone"
        raise ValueError(msg)
    return moment


def _dump(value: dict[str, Any]) -> bytes:
    return json.dumps(value, indent=1).encode() + b"\n"


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _unb64(text: str) -> bytes:
    return base64.b64decode(text, validate=True)
