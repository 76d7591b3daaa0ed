"""Project status (PEP 792): what a project's maintainers say about it, and what follows for uploads."""

from __future__ import annotations

from enum import StrEnum

from sqlalchemy.orm import Session

from buildfarm.errors import Forbidden, InvalidInput, NotFound
from buildfarm.index.model import Project
from buildfarm.index.spelling import normal_name
from buildfarm.journal.record import record


class Status(StrEnum):
    """The markers of PEP 792."""

    ACTIVE = "active"
    ARCHIVED = "archived"
    QUARANTINED = "quarantined"
    DEPRECATED = "deprecated"


#: Those under which nothing new may come in.
_CLOSED = {Status.ARCHIVED, Status.QUARANTINED}


def set_status(session: Session, name: str, status: str, *, reason: str, actor: str) -> Project:
    """Mark a project.

    Raises:
        NotFound: `project.unknown`.
        InvalidInput: `project.status`, no marker of the standard, or a reason that is no line of text.
    """
    project = session.get(Project, normal_name(name))
    if project is None:
        raise NotFound(f"There is no project {name} here.", code="project.unknown")
    if status not in set(Status):
        known = ", ".join(Status)
        raise InvalidInput(f"{status[:40]!r} is no status.", code="project.status", hint=f"One of: {known}.")
    if len(reason) > 500 or not reason.isprintable():
        raise InvalidInput("A reason is one line of at most 500 characters.", code="project.status")
    project.status, project.status_reason = status, reason or None
    record(session, "project.status", project=project.name, status=status, reason=reason or None, actor=actor)
    return project


def demand_open(project: Project | None) -> None:
    """Refuse new files of a project that is closed; one that is not there yet is open.

    Raises:
        Forbidden: `project.closed`.
    """
    if project and project.status in _CLOSED:
        why = f": {project.status_reason}" if project.status_reason else ""
        raise Forbidden(
            f"The project {project.name} is {project.status} and takes no new files{why}.",
            code="project.closed",
            hint=f"An administrator reopens it: buildfarm project status {project.name} active",
        )
