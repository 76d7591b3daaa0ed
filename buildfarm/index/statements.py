"""Attestations that come along with an upload (PEP 740): believed, or the upload is refused.

Each must verify, offline, against the trusted root of this farm or of one that the settings name, or against
that of a Sigstore service, made by somebody whom the settings name: an index that shows statements which it
cannot check would lend them its good name.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from buildfarm.errors import EnvironmentProblem, InvalidInput
from buildfarm.trust import bundle as bundles
from buildfarm.trust import public, root
from buildfarm.trust.evidence import project_of
from buildfarm.trust.report import Policy
from buildfarm.trust.verify import verify_bundle

#: Attestations of one file: one for each kind of statement is what clients make.
_MOST = 8


@dataclass(frozen=True)
class Proof:
    """What is served beside a file: the bundle of its first farm statement, the provenance of all."""

    #: None where no farm made a statement: `buildfarm verify` reads a bundle as a farm's.
    bundle: bytes | None
    provenance: bytes


@dataclass(frozen=True)
class Statements:
    """Whose statements are believed."""

    #: The signer's public document; the farms that `others` are the roots of are believed as well.
    own_root: Path
    others: tuple[Path, ...]
    public_url: str
    #: `trusted_root.json` of a Sigstore service, and whose statements by it are believed.
    sigstore_root: Path | None = None
    believed: tuple[public.Believed, ...] = ()

    def check(self) -> None:
        """See at a start whether the roots that the settings name can be used.

        Raises:
            EnvironmentProblem: `index.attestation_roots`, `index.sigstore_root`.
        """
        for path in self.others:
            _usable(path)
        if self.sigstore_root:
            public.demand_root(self.sigstore_root)
        elif self.believed:
            raise EnvironmentProblem(
                "The setting index.attestation_identities needs index.sigstore_root.",
                code="index.sigstore_root",
                hint="Name the `trusted_root.json` of the Sigstore service that attests for them.",
            )

    def prove(self, text: str, filename: str, sha256: str) -> Proof:
        """The proof in a JSON array of attestation objects, every one of which verifies for the file.

        Raises:
            InvalidInput: `upload.attestations`, `bundle.malformed`, `attestation.<what>`.
            EnvironmentProblem: `index.attestation_roots`, `index.sigstore_root`: a root that the settings
                name cannot be read.
        """
        farms, together = [], []
        for value in _array(text):
            bundle = bundles.from_attestation(value)
            signer = public.signer_of(bundle)
            if self._is_farm(signer.issuer):
                self._demand(bundle, filename, sha256)
                farms.append(bundle)
                together += json.loads(bundles.provenance(bundle))["attestation_bundles"]
            else:
                self._demand_believed(bundle, signer, filename, sha256)
                attestations = [bundles.attestation_object(bundle)]
                together.append({"publisher": signer.publisher(), "attestations": attestations})
        provenance = {"version": 1, "attestation_bundles": together}
        served = json.dumps(provenance, separators=(",", ":"), ensure_ascii=False).encode()
        return Proof(farms[0] if farms else None, served)

    def _is_farm(self, issuer: str) -> bool:
        return any(issuer in urls for _trusted, urls in self._roots())

    def _demand_believed(self, bundle: bytes, signer: public.Signer, filename: str, sha256: str) -> None:
        if self.sigstore_root is None or not signer.is_believed(self.believed, project_of(filename)):
            raise InvalidInput(
                f"The attestation of {filename} is by {signer.identity} of {signer.issuer}, "
                "who is not believed here.",
                code="attestation.identity",
                hint="Upload without attestations, or have an administrator add this issuer and identity to "
                "index.attestation_identities and name index.sigstore_root; for a farm, its root to "
                "index.attestation_roots.",
            )
        public.verify(bundle, signer, sha256, filename, self.sigstore_root)

    def _demand(self, bundle: bytes, filename: str, sha256: str) -> None:
        why = "no trusted root is there to check it against"
        for trusted, urls in self._roots():
            report = verify_bundle(bundle, sha256, filename, trusted, Policy(urls))
            if report.ok:
                return
            why = next(check.detail for check in report.checks if not check.ok)
        raise InvalidInput(
            f"An attestation of {filename} does not verify here: {why}",
            code="upload.attestations",
            hint="Believed are statements of this farm and of those whose trusted roots "
            "index.attestation_roots names. Upload without attestations, or have the root added.",
        )

    def _roots(self) -> Iterator[tuple[root.TrustedRoot, frozenset[str]]]:
        for path in self.others:
            trusted = _usable(path)
            yield trusted, trusted.homes
        # The own one last: what it says of a foreign statement is what people understand.
        if self.own_root.is_file():
            trusted = root.load(self.own_root)
            yield trusted, trusted.homes | {self.public_url}


def _usable(path: Path) -> root.TrustedRoot:
    try:
        return root.load(path)
    except InvalidInput as err:
        raise EnvironmentProblem(
            f"The trusted root {path} of index.attestation_roots cannot be used: {err.message}",
            code="index.attestation_roots",
            hint="Name the `trusted_root.json` of a farm; the public Sigstore service's is of another kind.",
        ) from err


def _array(text: str) -> list[Any]:
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, list) or not 0 < len(values) <= _MOST:
        raise InvalidInput(
            f"The field attestations is no JSON array of 1 to {_MOST} attestations (PEP 740).",
            code="upload.attestations",
        )
    return values
