"""Who owns a name: projects that are local, and the sources that may publish them."""

from __future__ import annotations

from collections.abc import Callable

from packaging.utils import InvalidName, canonicalize_name
from sqlalchemy import select
from sqlalchemy.orm import Session

from buildfarm.errors import Conflict, InvalidInput
from buildfarm.index.model import Project
from buildfarm.journal.record import record
from buildfarm.sources.model import Source


def make_local(session: Session, names: list[str], source: Source, *, actor: str) -> None:
    """Grant projects to a source; their names are ours from here on and never asked upstream.

    Raises:
        InvalidInput: `project.name`, it follows no name grammar.
        Conflict: `project.granted`, another source may publish the name already.
    """
    granted = set(source.projects)
    for display_name in names:
        name = normal_name(display_name)
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
        add_local(session, name, display_name, actor=actor)
    source.projects = sorted(granted)


def add_local(session: Session, name: str, display_name: str, *, actor: str | None) -> None:
    """Make a normalised name ours, where it is not yet."""
    if session.get(Project, name) is None:
        project = Project(name=name, display_name=display_name, local_since=0)
        session.add(project)
        session.flush()
        record(session, "project.local", project=name, actor=actor, on_serial=_since(project))


def normal_name(text: str) -> str:
    """The one spelling of a project name.

    Raises:
        InvalidInput: `project.name`, it does not follow the grammar of the name normalisation standard.
    """
    try:
        return canonicalize_name(text, validate=True)
    except InvalidName as err:
        raise InvalidInput(
            f"{text[:100]!r} is no project name.",
            code="project.name",
            hint="Letters, digits, `-`, `_` and `.`; a letter or digit at both ends.",
        ) from err


def _since(project: Project) -> Callable[[int], None]:
    def note(serial: int) -> None:
        project.local_since = serial

    return note
