"""Rows of releases and files: equal versions are one release, a file name means one digest for ever."""

from __future__ import annotations

from packaging.utils import canonicalize_name
from sqlalchemy import select
from sqlalchemy.orm import Session

from buildfarm import clock
from buildfarm.errors import Conflict, NotFound
from buildfarm.ids import new_id
from buildfarm.index.model import File, Release
from buildfarm.index.spelling import version_key
from buildfarm.wheels.facts import FileFacts


def get_release(session: Session, project: str, version: str) -> Release:
    """One release, name and version in any spelling.

    Raises:
        InvalidInput: `version.invalid`.
        NotFound: `release.unknown`.
    """
    release = _find(session, canonicalize_name(project), version_key(version))
    if release is None:
        raise NotFound(f"There is no release {project} {version} here.", code="release.unknown")
    return release


def release_of(session: Session, facts: FileFacts) -> Release:
    """The release that a file belongs to, made where it is the first one."""
    release = _find(session, facts.project, version_key(facts.version))
    if release is None:
        release = Release(
            id=new_id("rel"),
            project=facts.project,
            version=facts.version,
            summary=facts.summary or None,
            created_at=clock.now(),
        )
        session.add(release)
        session.flush()
    return release


def demand_free(known: File | None, sha256: str) -> None:
    """A file name means one digest for ever, and a withdrawn one never comes back.

    Raises:
        Conflict: `file.exists`, the name is known with other bytes; `file.withdrawn`.
    """
    if known is None:
        return
    if known.withdrawn_at:
        raise Conflict(
            f"File already exists: {known.filename} was withdrawn, and its name never comes back.",
            code="file.withdrawn",
            hint="Release a new version.",
        )
    if known.sha256 != sha256:
        raise Conflict(
            f"File already exists: {known.filename} was published with other bytes.",
            code="file.exists",
            hint="A file name means the same bytes for ever; release a new version.",
        )


def _find(session: Session, project: str, key: str) -> Release | None:
    return session.scalars(select(Release).where(Release.project == project, Release.key == key)).first()
