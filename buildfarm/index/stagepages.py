"""Pages of a stage: its own files first; any other name is answered by its parts, as in a union."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import groupby
from operator import attrgetter

from packaging.utils import canonicalize_version
from sqlalchemy import select
from sqlalchemy.orm import Session

from buildfarm.index import pagefacts
from buildfarm.index.model import StageFile
from buildfarm.index.pagefacts import PageFile, PageRelease, Serials
from buildfarm.index.projectpages import ProjectPages, Site
from buildfarm.index.render import Marking


def names(session: Session, stage: str) -> set[str]:
    """The projects that the stage has files of."""
    return set(session.scalars(select(StageFile.project).where(StageFile.stage == stage)))


def render(session: Session, site: Site, stage: str, name: str) -> bool:
    """Put the page of a project into the tree; False when the stage has no file of it."""
    query = select(StageFile).where(StageFile.stage == stage, StageFile.project == name)
    files = session.scalars(query.order_by(StageFile.version, StageFile.filename)).all()
    if not files:
        return False
    releases = _releases(files)
    since = {canonicalize_version(release.version): release.since for release in releases}
    for project in pagefacts.projects(session, [name], namespaces=site.namespaces):
        # Of what the page says of the project as a whole the journal has a row under its name.
        serials = Serials(max(project.serials.project, *since.values()), since)
        shown = replace(project, serials=serials, releases={stage: releases})
        pages = ProjectPages(site, stage, name, shown.shown_in(stage))
        pages.write(serials, Marking.of(shown), anew=True)
    return True


def _releases(files: Iterable[StageFile]) -> list[PageRelease]:
    releases = []
    for version, group in groupby(files, attrgetter("version")):
        some = list(group)
        releases.append(
            PageRelease(
                version=version,
                since=max(file.since for file in some),
                summary=some[0].summary,
                created_at=some[0].built_at,
                files=tuple(map(_page_file, some)),
            )
        )
    return releases


def _page_file(file: StageFile) -> PageFile:
    return PageFile(
        filename=file.filename,
        sha256=file.sha256,
        size=file.size,
        uploaded_at=file.built_at,
        requires_python=file.requires_python,
        metadata_sha256=file.metadata_sha256,
        bundle_sha256=None,
        provenance_sha256=None,
        reproduced_sha256=None,
        yanked=None,
    )
