"""Attestations that come along with an upload (PEP 740): believed, or the upload is refused.

Each must verify, offline, against the trusted root of this farm or of one that the settings name: an
index that shows statements which it cannot check would lend them its good name.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from buildfarm.errors import EnvironmentProblem, InvalidInput
from buildfarm.trust import bundle as bundles
from buildfarm.trust import root
from buildfarm.trust.report import Policy
from buildfarm.trust.verify import verify_bundle

#: Attestations of one file: one for each kind of statement is what clients make.
_MOST = 8


@dataclass(frozen=True)
class Proof:
    """What is served beside a file: the bundle of its first attestation, the provenance of all."""

    bundle: bytes
    provenance: bytes


@dataclass(frozen=True)
class Statements:
    """Whose statements are believed."""

    #: The signer's public document; the farms that `others` are the roots of are believed as well.
    own_root: Path
    others: tuple[Path, ...]
    public_url: str

    def check(self) -> None:
        """See at a start whether the roots that the settings name can be used.

        Raises:
            EnvironmentProblem: `index.attestation_roots`.
        """
        for path in self.others:
            _usable(path)

    def prove(self, text: str, filename: str, sha256: str) -> Proof:
        """The proof in a JSON array of attestation objects, every one of which verifies for the file.

        Raises:
            InvalidInput: `upload.attestations`.
            EnvironmentProblem: `index.attestation_roots`, a root that the settings name cannot be read.
        """
        found = [bundles.from_attestation(value) for value in _array(text)]
        for each in found:
            self._demand(each, filename, sha256)
        documents = [json.loads(bundles.provenance(each)) for each in found]
        together = [one for document in documents for one in document["attestation_bundles"]]
        provenance = {"version": 1, "attestation_bundles": together}
        return Proof(found[0], json.dumps(provenance, separators=(",", ":"), ensure_ascii=False).encode())

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
