"""Who owns a name: projects that are local, and the sources that may publish them."""

from __future__ import annotations

from collections.abc import Callable

from packaging.utils import canonicalize_name
from sqlalchemy import select
from sqlalchemy.orm import Session

from buildfarm.errors import Conflict
from buildfarm.index.model import Project
from buildfarm.journal.record import record
from buildfarm.sources.model import Source


def make_local(session: Session, names: list[str], source: Source, *, actor: str) -> None:
    """Grant projects to a source; their names are ours from here on and never asked upstream.

    Raises:
        Conflict: `project.granted`, another source may publish the name already.
    """
    granted = set(source.projects)
    for display_name in names:
        name = canonicalize_name(display_name)
        for other in session.scalars(select(Source).where(Source.id != source.id)):
            if name in other.projects:
                raise Conflict(
                    f"The project {name} belongs to the source {other.name}.",
                    code="project.granted",
                    hint="Remove it there first: a project is published by one source.",
                )
        if name not in granted:
            granted.add(name)
            record(session, "project.grant", project=name, source=source.id, actor=actor)
        if session.get(Project, name) is None:
            project = Project(name=name, display_name=display_name, local_since=0)
            session.add(project)
            record(session, "project.local", project=name, actor=actor, on_serial=_since(project))
    source.projects = sorted(granted)


def _since(project: Project) -> Callable[[int], None]:
    def note(serial: int) -> None:
        project.local_since = serial

    return note
