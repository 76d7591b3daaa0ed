"""What a bundle offers as evidence, looked up in the trusted root and read where a check needs it.

Each part raises where the bundle does not provide it; nothing here says that it is genuine.
"""

from __future__ import annotations

import datetime as dt
import json
from functools import cached_property
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.certificate_transparency import SignedCertificateTimestamp
from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    parse_sdist_filename,
    parse_wheel_filename,
)

from buildfarm.errors import IntegrityFailure
from buildfarm.trust import certificates
from buildfarm.trust.bundle import Bundle
from buildfarm.trust.root import Authority, LogKey, TimestampKey, TrustedRoot


class Evidence:
    """A bundle before a trusted root."""

    def __init__(self, bundle: Bundle, root: TrustedRoot) -> None:
        self.bundle, self.root = bundle, root

    @cached_property
    def leaf(self) -> x509.Certificate:
        """The certificate of the key that signed the statement."""
        return self.bundle.certificate

    @cached_property
    def time(self) -> dt.datetime:
        """The entry's time, which its signed timestamp covers."""
        return dt.datetime.fromtimestamp(self.bundle.integrated_time, dt.UTC)

    @cached_property
    def statement(self) -> dict[str, Any]:
        """The in-toto statement."""
        value = json.loads(self.bundle.statement)
        if not isinstance(value, dict):
            raise failed("The statement is no JSON object.")
        return value

    @cached_property
    def subject(self) -> dict[str, Any]:
        """The statement's one subject."""
        subjects = self.statement["subject"]
        if len(subjects) != 1:
            raise failed("The statement is not about one file.", 1, len(subjects))
        return dict(subjects[0])

    @cached_property
    def authority(self) -> Authority:
        """The trusted authority that issued the certificate."""
        for authority in self.root.authorities:
            try:
                self.leaf.verify_directly_issued_by(authority.chain[0])
            except (InvalidSignature, ValueError, TypeError):
                continue
            return authority
        raise failed(
            "No authority of the trusted root issued the certificate.",
            sorted(each.chain[0].subject.rfc4514_string() for each in self.root.authorities),
            self.leaf.issuer.rfc4514_string(),
        )

    @cached_property
    def log_key(self) -> LogKey:
        """The trusted log's key, found by the entry's log id."""
        for key in self.root.logs:
            if key.log_id == self.bundle.log_id:
                return key
        raise failed(
            "The log is not one of the trusted root.",
            sorted(key.log_id.hex() for key in self.root.logs),
            self.bundle.log_id.hex(),
        )

    @cached_property
    def certificate_timestamp(
        self,
    ) -> tuple[TimestampKey, SignedCertificateTimestamp]:
        """The certificate's one timestamp, with the trusted key that should have made it."""
        extension = self.leaf.extensions.get_extension_for_class(
            x509.PrecertificateSignedCertificateTimestamps
        )
        timestamps = list(extension.value)
        if len(timestamps) != 1:
            raise failed("The certificate has not exactly one timestamp.", 1, len(timestamps))
        for key in self.root.timestamp_keys:
            if key.log_id == timestamps[0].log_id:
                return key, timestamps[0]
        raise failed(
            "The certificate's timestamp is by a key that the trusted root does not have.",
            sorted(key.log_id.hex() for key in self.root.timestamp_keys),
            timestamps[0].log_id.hex(),
        )

    @cached_property
    def issuer(self) -> str:
        """The public URL of the farm for which the certificate was issued."""
        return self.raw_extension(certificates.ISSUER_V1).decode()

    def definition(self) -> dict[str, Any]:
        """SLSA's `buildDefinition`."""
        return dict(self.statement["predicate"]["buildDefinition"])

    def run(self) -> dict[str, Any]:
        """SLSA's `runDetails`."""
        return dict(self.statement["predicate"]["runDetails"])

    def commit(self) -> str:
        """The commit that was built; of a project of an index the SHA-256 of its sdist."""
        source, *_rest = self.definition()["resolvedDependencies"]
        for kind in ("gitCommit", "sha256"):
            if kind in source["digest"]:
                return str(source["digest"][kind])
        raise failed("The statement names no commit.")

    def leaf_key(self) -> ec.EllipticCurvePublicKey:
        """The certificate's key."""
        key = self.leaf.public_key()
        if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
            raise failed("The certificate's key is not a P-256 key.")
        return key

    def identity(self) -> str:
        """The certificate's one URI."""
        names = self.leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        found = names.get_values_for_type(x509.UniformResourceIdentifier)
        if len(found) != 1 or len(list(names)) != 1:
            raise failed("The certificate has not exactly one identity.", 1, len(list(names)))
        return found[0]

    def raw_extension(self, oid: x509.ObjectIdentifier) -> bytes:
        """Bytes of an extension that the X.509 library does not interpret."""
        value = self.leaf.extensions.get_extension_for_oid(oid).value
        if not isinstance(value, x509.UnrecognizedExtension):
            raise failed(f"The certificate's extension {oid.dotted_string} has another form.")
        return value.value


def project_of(filename: str) -> str:
    """The normalised project name that a file name carries."""
    try:
        if filename.endswith(".whl"):
            return str(parse_wheel_filename(filename)[0])
        return str(parse_sdist_filename(filename)[0])
    except (InvalidWheelFilename, InvalidSdistFilename) as error:
        raise failed(f"{filename} is neither a wheel's nor a source distribution's name.") from error


def demand_equal(sentence: str, expected: object, got: object) -> None:
    """Raise `failed` where two values differ."""
    if expected != got:
        raise failed(sentence, expected, got)


def failed(sentence: str, expected: object = "", got: object = "") -> IntegrityFailure:
    """A failed check, with what was expected and found."""
    return IntegrityFailure(sentence, code="verify.failed", expected=_shown(expected), got=_shown(got))


def _shown(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
