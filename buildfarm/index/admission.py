"""Admission: a built file enters a channel only with a bundle that verifies now, against today's root.

Publishing checks what it is about to show, promotion checks again: a statement that was changed in the
store, or whose issuing authority was taken out of the trusted root meanwhile, stops there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from buildfarm.errors import ExternalFailure, IntegrityFailure, InvalidInput
from buildfarm.index import promote as promotions
from buildfarm.index.model import File, Promotion
from buildfarm.storage.blobs import Blobs
from buildfarm.trust import root
from buildfarm.trust.report import Policy
from buildfarm.trust.verify import verify_bundle


def demand_verified(bundle: bytes, sha256: str, filename: str, trusted: root.TrustedRoot, url: str) -> None:
    """Refuse a bundle that does not prove the file, by all checks of `buildfarm verify`.

    Args:
        bundle: the stored bundle.
        sha256: digest of the file's bytes, as recorded when they were stored.
        filename: the name under which clients will see it.
        trusted: the farm's own trusted root; statements from before the farm moved carry its `homes`.
        url: the farm's public URL.

    Raises:
        IntegrityFailure: `verify.<check>`.
        InvalidInput: `bundle.malformed`.
    """
    verify_bundle(bundle, sha256, filename, trusted, Policy(trusted.homes | {url})).demand()


@dataclass(frozen=True)
class Admission:
    """Promotes what verifies."""

    blobs: Blobs
    #: The signer's public document (`trusted_root.json`).
    root_path: Path
    public_url: str

    def promote(
        self, session: Session, *, project: str, version: str, from_channel: str, to_channel: str, actor: str
    ) -> Promotion:
        """Like `promote.promote`, with every statement verified in the same transaction.

        Raises:
            IntegrityFailure: a statement is missing or does not verify; nothing may be committed.
            ExternalFailure: `admission.no_root`, this host does not have the trusted root.
        """
        promotion = promotions.promote(
            session, project=project, version=version, from_channel=from_channel, to_channel=to_channel,
            actor=actor,
        )  # fmt: skip
        self.demand(session.scalars(select(File).where(File.filename.in_(promotion.filenames))).all())
        return promotion

    def promote_set(self, session: Session, candidate: str, *, actor: str) -> list[Promotion]:
        """Like `promote.promote_set`, with every statement verified in the same transaction.

        Raises:
            IntegrityFailure, ExternalFailure: as for `promote`.
        """
        made = promotions.promote_set(session, candidate, actor=actor)
        names = [name for promotion in made for name in promotion.filenames]
        self.demand(session.scalars(select(File).where(File.filename.in_(names))).all())
        return made

    def demand(self, files: Sequence[File]) -> None:
        """Refuse built files without a statement that verifies; what was uploaded has none.

        Raises:
            IntegrityFailure: `admission.unattested`, or see `demand_verified`.
            ExternalFailure: `admission.no_root`.
        """
        built = [file for file in files if file.build_id is not None]
        if not built:
            return
        trusted = self._root()
        for file in built:
            if file.bundle_sha256 is None:
                raise IntegrityFailure(
                    f"{file.filename} was built here and has no statement.", code="admission.unattested"
                )
            bundle = self.blobs.read(file.bundle_sha256)
            demand_verified(bundle, file.sha256, file.filename, trusted, self.public_url)

    def _root(self) -> root.TrustedRoot:
        try:
            return root.load(self.root_path)
        except InvalidInput as error:
            raise ExternalFailure(
                "The farm's trusted root cannot be read on this host.",
                code="admission.no_root",
                hint=f"The signer writes it to {self.root_path}.",
            ) from error
