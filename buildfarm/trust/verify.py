"""Verifies one file against its bundle, with nothing but `cryptography` and the standard library.

Every check is made and reported, also after one failed. Several of them stock clients leave out: the
file's name, the tree size inside the signed checkpoint, the end of a key's validity.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import re
from collections.abc import Callable
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat import asn1
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import (
    Criticality,
    ExtensionPolicy,
    PolicyBuilder,
    Store,
    VerificationError,
)

from buildfarm.clock import iso_seconds
from buildfarm.errors import FarmError, InvalidInput
from buildfarm.journal import merkle
from buildfarm.trust import certificates, dsse, entry, note, uris
from buildfarm.trust.bundle import Bundle, parse
from buildfarm.trust.evidence import Evidence, demand_equal, failed, project_of
from buildfarm.trust.report import Check, Origin, Policy, Report
from buildfarm.trust.root import TrustedRoot

#: What reading a hostile certificate or statement may raise besides our own errors.
_UNREADABLE = (
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    OverflowError,
    OSError,
    RecursionError,
    UnsupportedAlgorithm,
    x509.ExtensionNotFound,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)


_CORRUPT = (
    "Fetch file and bundle again; if it stays so, do not use the file and tell the farm's administrator."
)
_STALE_ROOT = "Check that the trusted root is this farm's present one (`--root`)."
_HINTS = {
    "file-digest": "The file was changed or belongs to another bundle: fetch both again, and do not use it.",
    "file-name": "Give the file its own name back; a renamed wheel claims what nobody attested.",
    "certificate-chain": _STALE_ROOT,
    "certificate-timestamp": _STALE_ROOT,
    "checkpoint-signature": _STALE_ROOT,
    "key-validity": "The key was retired: ask the farm's administrator for a new attestation.",
    "identity": "If this is the right farm, name it by its public URL (`--index`).",
    "builder": "Ask for a file that was built by an accepted builder.",
} | dict.fromkeys(
    ("envelope-signature", "log-entry", "inclusion-proof", "tree-size", "entry-timestamp", "claims"), _CORRUPT
)


def verify_bundle(
    bundle: bytes, file: Path | bytes | str, filename: str, root: TrustedRoot, policy: Policy
) -> Report:
    """Verify a file against its bundle.

    Args:
        bundle: the bundle's JSON.
        file: where the file is, or its bytes, or its SHA-256 as 64 hexadecimal digits.
        filename: the name under which the file is offered or installed.
        root: whom to believe.
        policy: what else must hold.

    Returns:
        A report of every check; it does not raise for a bundle that fails or cannot be read.

    Raises:
        InvalidInput: the file cannot be read.
    """
    return _report(_Verification, bundle, file_sha256(file), filename, root, policy)


def verify_reproduction(
    bundle: bytes, file: Path | bytes | str, filename: str, root: TrustedRoot, policy: Policy
) -> Report:
    """The same for a statement that a second build made the file with the same bytes.

    The report's origin is the second build; its `reproduces` is the run that it repeated.

    Raises:
        InvalidInput: the file cannot be read.
    """
    return _report(_Reproduction, bundle, file_sha256(file), filename, root, policy)


def _report(
    kind: type[_Verification], bundle: bytes, sha256: str, filename: str, root: TrustedRoot, policy: Policy
) -> Report:
    try:
        parsed = parse(bundle)
    except InvalidInput as error:
        check = Check("bundle", ok=False, detail=error.message, hint=error.hint)
        return Report(filename, sha256, (check,), None, None, b"")
    return kind(parsed, root, sha256, filename, policy).report()


def file_sha256(file: Path | bytes | str) -> str:
    """Lower-case hex SHA-256 of a file, of bytes, or of what a digest was given for.

    Raises:
        InvalidInput: the file cannot be read, or the text is no digest.
    """
    if isinstance(file, str):
        if not re.fullmatch(r"[0-9a-f]{64}", file):
            raise InvalidInput(f"{file[:80]!r} is no SHA-256 digest.", code="verify.digest")
        return file
    if isinstance(file, bytes):
        return hashlib.sha256(file).hexdigest()
    try:
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError as error:
        raise InvalidInput(f"{file} cannot be read: {error.strerror}", code="verify.file") from error


class _Verification(Evidence):
    """The checks of one file, over the evidence of its bundle."""

    def __init__(self, bundle: Bundle, root: TrustedRoot, sha256: str, filename: str, policy: Policy) -> None:
        super().__init__(bundle, root)
        self.sha256, self.filename, self.policy = sha256, filename, policy

    def report(self) -> Report:
        """Make every check."""
        checks = tuple(
            _made(name, check)
            for name, check in (
                ("file-digest", self._file_digest),
                ("file-name", self._file_name),
                ("envelope-signature", self._envelope),
                ("certificate-chain", self._chain),
                ("certificate-timestamp", self._certificate_timestamp),
                ("log-entry", self._log_entry),
                ("inclusion-proof", self._inclusion),
                ("checkpoint-signature", self._checkpoint),
                ("tree-size", self._tree_size),
                ("entry-timestamp", self._entry_timestamp),
                ("key-validity", self._key_validity),
                ("identity", self._identity),
                ("predicate-type", self._predicate_type),
                ("builder", self._builder),
                ("claims", self._claims),
            )
        )
        try:
            origin = self._origin()
        except (FarmError, *_UNREADABLE):
            origin = None
        checkpoint, log_id = self.bundle.note.checkpoint, self.bundle.log_id
        return Report(self.filename, self.sha256, checks, origin, checkpoint, log_id)

    def _file_digest(self) -> str:
        demand_equal(
            "The file's bytes are not those of the statement.",
            self.subject["digest"]["sha256"],
            self.sha256,
        )
        return f"sha256 {self.sha256}"

    def _file_name(self) -> str:
        demand_equal("The statement is about a file of another name.", self.subject["name"], self.filename)
        return self.filename

    def _envelope(self) -> str:
        demand_equal("The envelope holds no in-toto statement.", dsse.PAYLOAD_TYPE, self.bundle.payload_type)
        dsse.verify(
            self.bundle.statement,
            self.bundle.payload_type,
            self.bundle.signature,
            self.leaf_key(),
        )
        return "signed by the certificate's key"

    def _chain(self) -> str:
        # The extended key usage is asked for below: this library's own rule is for TLS clients.
        authorities = ExtensionPolicy.webpki_defaults_ca().may_be_present(
            x509.ExtendedKeyUsage, Criticality.NON_CRITICAL, None
        )
        leaves = ExtensionPolicy.webpki_defaults_ee().may_be_present(
            x509.ExtendedKeyUsage, Criticality.NON_CRITICAL, None
        )
        *intermediates, anchor = self.authority.chain
        verifier = (
            PolicyBuilder()
            .store(Store([anchor]))
            .time(self.time)
            .extension_policies(ca_policy=authorities, ee_policy=leaves)
            .build_client_verifier()
        )
        try:
            verifier.verify(self.leaf, intermediates)
        except VerificationError as error:
            raise failed(
                f"The certificate's chain is not valid at {iso_seconds(self.time)}: {error}"
            ) from error
        extensions = self.leaf.extensions
        usage = extensions.get_extension_for_class(x509.KeyUsage).value
        purposes = extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        if not usage.digital_signature or ExtendedKeyUsageOID.CODE_SIGNING not in purposes:
            raise failed("The certificate is not for signing code.")
        return f"valid at {iso_seconds(self.time)}"

    def _certificate_timestamp(self) -> str:
        key, timestamp = self.certificate_timestamp
        issuer_key = self.authority.chain[0].public_key()
        if not isinstance(issuer_key, ec.EllipticCurvePublicKey):
            raise failed("The issuing CA's key is no EC key.")
        moment = timestamp.timestamp.replace(tzinfo=dt.UTC)
        payload = certificates.timestamp_payload(
            self.leaf.tbs_precertificate_bytes, issuer_key, round(moment.timestamp() * 1000)
        )
        try:
            key.key.verify(timestamp.signature, payload, ec.ECDSA(hashes.SHA256()))
        except InvalidSignature:
            raise failed("The certificate's timestamp is not over this certificate.") from None
        return "over this certificate, by the farm's timestamp key"

    def _log_entry(self) -> str:
        kind = f"{self.bundle.entry_kind} {self.bundle.entry_version}"
        demand_equal("The log entry is of another kind.", f"{entry.KIND} {entry.VERSION}", kind)
        envelope = dsse.envelope(self.bundle.statement, self.bundle.signature)
        body = entry.body(self.bundle.statement, envelope, self.bundle.signature, self.leaf)
        demand_equal(
            "The log entry is about another statement, signature or certificate.",
            hashlib.sha256(body).hexdigest(),
            hashlib.sha256(self.bundle.entry_body).hexdigest(),
        )
        return "of this statement, signature and certificate"

    def _inclusion(self) -> str:
        bundle = self.bundle
        demand_equal("The proof is for another index of the log.", bundle.log_index, bundle.proof_index)
        merkle.verify_inclusion(
            merkle.leaf_hash(bundle.entry_body),
            bundle.proof_index,
            bundle.proof_size,
            bundle.proof_hashes,
            bundle.proof_root,
        )
        return f"entry {bundle.log_index} of {bundle.proof_size}"

    def _checkpoint(self) -> str:
        # The id is made of origin and key, so a signed note of another origin cannot stand in.
        key, signed = self.log_key, self.bundle.note
        demand_equal(
            "The checkpoint is of another log.",
            key.log_id.hex(),
            note.log_id(signed.checkpoint.origin, key.key).hex(),
        )
        note.verify(signed, key.log_id, key.key)
        return f"by {signed.checkpoint.origin}"

    def _tree_size(self) -> str:
        signed = self.bundle.note.checkpoint
        demand_equal("The proof's tree size is not the signed one.", signed.size, self.bundle.proof_size)
        demand_equal(
            "The proof's root is not the signed one.",
            signed.root.hex(),
            self.bundle.proof_root.hex(),
        )
        return f"{signed.size} entries, as signed"

    def _entry_timestamp(self) -> str:
        bundle = self.bundle
        payload = entry.timestamp_payload(
            bundle.entry_body, bundle.log_id, bundle.log_index, bundle.integrated_time
        )
        try:
            self.log_key.key.verify(bundle.signed_timestamp, payload)
        except InvalidSignature:
            raise failed("The log did not sign this entry, index and time.") from None
        return iso_seconds(self.time)

    def _key_validity(self) -> str:
        for what, window in (
            ("log key", self.log_key.window),
            ("issuing CA", self.authority.window),
            ("certificate-timestamp key", self.certificate_timestamp[0].window),
        ):
            if not window.contains(self.time):
                end = "" if window.end is None else iso_seconds(window.end)
                raise failed(
                    f"The trusted root does not let the {what} sign at that time.",
                    f"{iso_seconds(window.start)} to {end}",
                    iso_seconds(self.time),
                )
        return "every key was allowed to sign then"

    def _identity(self) -> str:
        second = asn1.decode_der(str, self.raw_extension(certificates.ISSUER_V2))
        demand_equal("The certificate names two issuers.", self.issuer, second)
        if self.issuer not in self.policy.issuers:
            raise failed(
                "The certificate was issued for another farm.",
                sorted(self.policy.issuers),
                self.issuer,
            )
        prefix = f"{self.issuer}/projects/{project_of(self.filename)}/"
        if not self.identity().startswith(prefix):
            raise failed("The certificate is for another project.", f"{prefix}...", self.identity())
        return self.identity()

    def _predicate_type(self) -> str:
        demand_equal("This is no in-toto statement.", uris.STATEMENT_TYPE, self.statement["_type"])
        demand_equal(
            "The statement is no build provenance.",
            uris.PREDICATE_TYPE,
            self.statement["predicateType"],
        )
        return uris.PREDICATE_TYPE

    def _builder(self) -> str:
        builder = self.run()["builder"]["id"]
        allowed = [self.issuer + path for path in sorted(self.policy.builder_paths)]
        if builder not in allowed:
            raise failed("The builder is not one that is accepted.", allowed, builder)
        return str(builder)

    def _claims(self) -> str:
        parameters = self.definition()["externalParameters"]
        for name, stated in (
            ("build_signer_uri", self.run()["builder"]["id"]),
            ("repository_uri", parameters["source"]["uri"].removeprefix("git+")),
            ("ref", parameters["source"]["ref"]),
            ("commit", self.commit()),
            ("run_uri", self.run()["metadata"]["invocationId"]),
        ):
            claimed = asn1.decode_der(str, self.raw_extension(certificates.CLAIMS[name]))
            demand_equal(f"Certificate and statement differ about {name}.", claimed, stated)
        return "certificate and statement agree on source, commit, builder and run"

    def _origin(self) -> Origin:
        parameters = self.definition()["externalParameters"]
        uris = [str(each.get("uri", "")) for each in self.definition()["resolvedDependencies"]]
        return Origin(
            source_uri=str(parameters["source"]["uri"]),
            ref=str(parameters["source"]["ref"]),
            commit=self.commit(),
            builder=str(self.run()["builder"]["id"]),
            target=str(parameters["target"]),
            identity=self.identity(),
            dependencies=sum(uri.startswith(("pkg:pypi/", "pkg:cargo/", "pkg:golang/")) for uri in uris),
            signed_at=iso_seconds(self.time),
            log_index=self.bundle.log_index,
            host=str(self.definition()["internalParameters"]["builder"]),
            reproduces=str(self.statement["predicate"].get("reproduces", {}).get("invocationId", "")),
        )


class _Reproduction(_Verification):
    """The checks of a statement about a second build."""

    def _predicate_type(self) -> str:
        demand_equal("This is no in-toto statement.", uris.STATEMENT_TYPE, self.statement["_type"])
        expected = self.issuer + uris.REPRODUCED_PATH
        demand_equal("The statement is not about a second build.", expected, self.statement["predicateType"])
        first, own = self.statement["predicate"]["reproduces"]["invocationId"], self.run()["metadata"]
        if first == own["invocationId"] or not str(first).startswith(f"{self.issuer}/jobs/"):
            raise failed("The statement names no other run of this farm that it repeats.", "", first)
        return expected


def _made(name: str, check: Callable[[], str]) -> Check:
    try:
        return Check(name, ok=True, detail=check())
    except FarmError as error:
        expected, got = (str(error.facts.get(key, "")) for key in ("expected", "got"))
        return Check(name, False, error.message, expected, got, error.hint or _HINTS.get(name, ""))
    except _UNREADABLE as error:
        detail = f"cannot be read: {type(error).__name__}: {error}"
        return Check(name, ok=False, detail=detail, hint=_HINTS.get(name, ""))
