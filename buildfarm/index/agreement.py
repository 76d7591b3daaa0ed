"""Findings about files of one release together: the sandboxed check sees one file alone."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict

from sqlalchemy import select
from sqlalchemy.orm import Session

from buildfarm.index.model import File
from buildfarm.storage.blobs import Blobs
from buildfarm.wheels.agreement import RULE, disagreements


def note(session: Session, blobs: Blobs, fresh: Collection[File]) -> None:
    """Hold new wheels against their release's source archive, and its old wheels against a new archive.

    May be done again; what it found of a wheel earlier is replaced. Metadata that the store has lost says
    nothing.
    """
    for release_id in {file.release_id for file in fresh}:
        live = select(File).where(File.release_id == release_id, File.withdrawn_at.is_(None))
        files = session.scalars(live.order_by(File.filename)).all()
        sdist = next((file for file in files if file.filename.endswith(".tar.gz")), None)
        said = _metadata(blobs, sdist) if sdist else None
        if said is None:
            continue
        for wheel in files:
            is_due = wheel.filename.endswith(".whl") and (wheel in fresh or sdist in fresh)
            says = _metadata(blobs, wheel) if is_due else None
            if says is not None:
                found = disagreements(says, said)
                others = [one for one in wheel.findings if one["rule"] != RULE]
                wheel.findings = [*others, *map(asdict, found)]


def _metadata(blobs: Blobs, file: File) -> bytes | None:
    digest = file.metadata_sha256
    return blobs.read(digest) if digest and blobs.has(digest) else None
