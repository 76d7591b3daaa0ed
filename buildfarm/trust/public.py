"""Statements of the public Sigstore service, or of a private one of its kind, verified offline.

sigstore-python does the cryptography: certificate chain, certificate timestamp, log entry, signature. What
a statement must be about, and whose is believed, is decided here. The library is imported at first use,
since that takes half a second and most farms never see such a statement.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat import asn1

from buildfarm.errors import EnvironmentProblem, InvalidInput
from buildfarm.trust import certificates, dsse, uris

if TYPE_CHECKING:
    from sigstore.verify import Verifier

#: The two kinds of statement that PEP 740 knows: build provenance and PyPI's publish attestation.
_PREDICATES = frozenset({uris.PREDICATE_TYPE, "https://docs.pypi.org/attestations/publish/v1"})
#: Fulcio's extension that names the top-level workflow; the identity may be a reusable one's.
_BUILD_CONFIG_URI = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.18")
_GITHUB = "https://token.actions.githubusercontent.com"
_GITLAB = "https://gitlab.com"
_GOOGLE = "https://accounts.google.com"
#: What reading a hostile certificate, statement or entry may raise, in the library as well.
_UNREADABLE = (
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    IndexError,
    OverflowError,
    RecursionError,
    UnsupportedAlgorithm,
    x509.ExtensionNotFound,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)


@dataclass(frozen=True)
class Believed:
    """Whose statements are believed; `identity` and `projects` are shell patterns."""

    issuer: str
    identity: str
    projects: tuple[str, ...]


@dataclass(frozen=True)
class Signer:
    """Who a certificate says has signed."""

    issuer: str
    #: URI of a workflow, or an e-mail address.
    identity: str
    #: URI of the top-level workflow, where the issuer is a forge.
    workflow: str

    def is_believed(self, believed: Sequence[Believed], project: str) -> bool:
        """Whether one of `believed` covers this signer for a project (normalized name)."""
        return any(
            one.issuer == self.issuer
            and fnmatchcase(self.identity, one.identity)
            and any(fnmatchcase(project, pattern) for pattern in one.projects)
            for one in believed
        )

    def publisher(self) -> dict[str, Any]:
        """The publisher object of a PEP 740 provenance document, of PyPI's kinds where it is one."""
        path = self.workflow.partition("@")[0]
        if self.issuer == _GITHUB and path.startswith("https://github.com/"):
            owner, repository, *rest = path.removeprefix("https://github.com/").split("/")
            return {"kind": "GitHub", "repository": f"{owner}/{repository}", "workflow": rest[-1]}
        if self.issuer == _GITLAB and path.startswith("https://gitlab.com/") and "//" in path[8:]:
            repository, _, workflow = path.removeprefix("https://gitlab.com/").partition("//")
            return {"kind": "GitLab", "repository": repository, "workflow_filepath": workflow}
        if self.issuer == _GOOGLE:
            return {"kind": "Google", "email": self.identity}
        return {"kind": "Sigstore", "issuer": self.issuer, "identity": self.identity}


def signer_of(bundle: bytes) -> Signer:
    """Who the bundle's certificate says has signed; a claim until `verify` has looked at it.

    Raises:
        InvalidInput: `bundle.malformed`, the certificate names nobody.
    """
    try:
        material = json.loads(bundle)["verificationMaterial"]
        certificate = x509.load_der_x509_certificate(base64.b64decode(material["certificate"]["rawBytes"]))
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        (identity,) = (
            *names.get_values_for_type(x509.UniformResourceIdentifier),
            *names.get_values_for_type(x509.RFC822Name),
        )
        workflow = _claim(certificate, _BUILD_CONFIG_URI, missing=identity)
        return Signer(_claim(certificate, certificates.ISSUER_V2), identity, workflow)
    except _UNREADABLE as error:
        raise InvalidInput(
            "The attestation's certificate does not say who signed, as a Sigstore certificate does.",
            code="bundle.malformed",
        ) from error


def demand_root(path: Path) -> None:
    """See that a Sigstore `trusted_root.json` can be used.

    Raises:
        EnvironmentProblem: `index.sigstore_root`.
    """
    _verifier(path)


def verify(bundle: bytes, signer: Signer, sha256: str, filename: str, root: Path) -> None:
    """Verify, without a network, that a bundle of a Sigstore service is by `signer` and about a file.

    Args:
        bundle: the bundle's JSON.
        signer: who must have signed; whether that one is believed is for the caller to judge.
        sha256: digest of the file's bytes, lower-case hexadecimal.
        filename: the name under which the file is offered.
        root: the service's `trusted_root.json`.

    Raises:
        InvalidInput: `attestation.certificate`, `attestation.signature`, `attestation.predicate`,
            `attestation.file`.
        EnvironmentProblem: `index.sigstore_root`.
    """
    verifier = _verifier(root)
    from sigstore.errors import CertValidationError, Error
    from sigstore.models import Bundle
    from sigstore.verify.policy import AllOf, Identity, OIDCIssuerV2

    try:
        by = AllOf([OIDCIssuerV2(signer.issuer), Identity(identity=signer.identity)])
        kind, payload = verifier.verify_dsse(Bundle.from_json(bundle), by)
    except CertValidationError as error:
        raise _refused(
            filename, f"its certificate is not of {root.name} or had expired: {error}", "certificate"
        ) from error
    except (Error, *_UNREADABLE) as error:
        raise _refused(filename, f"{error or type(error).__name__}", "signature") from error
    _demand_about(payload if kind == dsse.PAYLOAD_TYPE else b"", sha256, filename)


def _demand_about(payload: bytes, sha256: str, filename: str) -> None:
    try:
        statement = json.loads(payload)
        (subject,) = statement["subject"]
        predicate, name, digest = statement["predicateType"], subject["name"], subject["digest"]["sha256"]
        is_statement = statement["_type"] == uris.STATEMENT_TYPE
    except _UNREADABLE as error:
        raise _refused(filename, "it is no in-toto statement about one file", "predicate") from error
    if not is_statement or predicate not in _PREDICATES:
        raise _refused(filename, f"{str(predicate)[:200]} is no kind of statement of PEP 740", "predicate")
    if digest != sha256:
        raise _refused(filename, f"it is about other bytes, sha256 {str(digest)[:64]}", "file")
    if name != filename:
        raise _refused(filename, f"it is about a file named {str(name)[:200]}", "file")


def _verifier(path: Path) -> Verifier:
    from sigstore.errors import Error
    from sigstore.models import TrustedRoot
    from sigstore.verify import Verifier

    try:
        return Verifier(trusted_root=TrustedRoot.from_file(str(path)))
    except (OSError, Error, *_UNREADABLE) as error:
        raise EnvironmentProblem(
            f"The trusted root {path} of index.sigstore_root cannot be used: {str(error)[:200]}",
            code="index.sigstore_root",
            hint="Name the `trusted_root.json` of a Sigstore service; the public one's is in the "
            "repository sigstore/root-signing.",
        ) from error


def _claim(certificate: x509.Certificate, oid: x509.ObjectIdentifier, missing: str | None = None) -> str:
    try:
        value = certificate.extensions.get_extension_for_oid(oid).value
    except x509.ExtensionNotFound:
        if missing is None:
            raise
        return missing
    return asn1.decode_der(str, value.value)  # type: ignore[attr-defined]


def _refused(filename: str, why: str, code: str) -> InvalidInput:
    return InvalidInput(
        f"An attestation of {filename} does not verify: {why}.",
        code=f"attestation.{code}",
        hint="Build and attest the file anew, or upload it without attestations.",
    )
