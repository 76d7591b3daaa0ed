"""Who owns a name: projects that are local, and the sources that may publish them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import literal, select, union_all
from sqlalchemy.orm import Session

from buildfarm import clock
from buildfarm.access.rules import Principal, may
from buildfarm.errors import Conflict, Forbidden
from buildfarm.index import namespaces, status
from buildfarm.index.model import Project
from buildfarm.index.session_model import UploadSession
from buildfarm.index.spelling import normal_name
from buildfarm.journal.record import record
from buildfarm.mirror.model import UpstreamPage
from buildfarm.sources.model import Source
from buildfarm.wheels.names import skeleton


def make_local(session: Session, names: list[str], source: Source, *, actor: str) -> None:
    """Grant projects to a source; their names are ours from here on and never asked upstream.

    Raises:
        InvalidInput: `project.name`, it follows no name grammar.
        Conflict: `project.granted`, another source may publish the name already.
    """
    # Whoever grants waits for whoever does, so that two at once see each other.
    every = select(Source.id, Source.name, Source.projects).order_by(Source.id)
    held = session.execute(every.with_for_update(key_share=True)).all()
    granted = {project for row in held if row.id == source.id for project in row.projects}
    owners = {project: row.name for row in held if row.id != source.id for project in row.projects}
    for display_name in names:
        name = normal_name(display_name)
        if name in owners:
            raise Conflict(
                f"The project {name} belongs to the source {owners[name]}.",
                code="project.granted",
                hint="Remove it there first: a project is published by one source.",
            )
        if name not in granted:
            granted.add(name)
            record(session, "project.grant", project=name, source=source.id, actor=actor)
        add_local(session, name, display_name, actor=actor)
    source.projects = sorted(granted)


def add_local(session: Session, name: str, display_name: str, *, actor: str | None) -> None:
    """Make a normalised name ours, where it is not yet; the journal notes which names look like it."""
    if session.get(Project, name) is None:
        alike = similar(session, name)
        project = Project(name=name, display_name=display_name, local_since=0)
        session.add(project)
        session.flush()
        note: dict[str, Any] = {"looks_like": alike} if alike else {}
        record(session, "project.local", project=name, actor=actor, on_serial=_since(project), **note)


def demand_publishable(session: Session, principal: Principal, name: str) -> bool:
    """Refuse an upload of a name that is not the uploader's to publish; an administrator's is a decision.

    Returns:
        Whether that is all there is to ask: otherwise the name is new here, and upstream may have it.

    Raises:
        Forbidden: `project.closed`; `project.not_granted`, a source publishes it; `session.reserved`, the
            name is new here and another's upload session holds it.
        Conflict: `namespace.reserved`.
    """
    project = session.get(Project, name)
    status.demand_open(project)
    if may(principal, "admin"):
        return True
    granted = session.execute(select(Source.name, Source.projects))
    owner = next((source for source, projects in granted if name in projects), None)
    if owner:
        raise Forbidden(
            f"The project {name} is published by the source {owner}, not by uploads.",
            code="project.not_granted",
            hint="Let the farm build it, or take the project away from the source first.",
        )
    grants = namespaces.covering(session, name)
    namespaces.demand_owner(name, project, grants, principal.subjects)
    if project is None:
        _demand_unheld(session, principal, name)
    return project is not None or bool(grants)


def _demand_unheld(session: Session, principal: Principal, name: str) -> None:
    # PEP 694: the session that is the first to put a new name together holds it.
    open_ones = select(UploadSession.creator).where(
        UploadSession.project == name, UploadSession.status == "open", UploadSession.expires_at > clock.now()
    )
    if any(creator != principal.id for creator in session.scalars(open_ones)):
        raise Forbidden(
            f"The name {name} is held by somebody else's upload session.",
            code="session.reserved",
            hint="It is free again when that session is canceled or ends.",
        )


def add_name(session: Session, text: str, *, actor: str) -> Project:
    """Make a name local before anything is published under it.

    Raises:
        InvalidInput: `project.name`.
        Conflict: `project.exists`.
    """
    name = normal_name(text)
    if session.get(Project, name):
        raise Conflict(f"The name {name} is local already.", code="project.exists")
    add_local(session, name, text, actor=actor)
    return session.get_one(Project, name)


def similar(session: Session, name: str) -> list[str]:
    """Names that a person may take for this one: local ones first, then those that the mirror has seen."""
    seen, look = UpstreamPage.project, skeleton(name)
    local = select(literal(0), Project.name).where(Project.skeleton == look, Project.name != name)
    upstream = select(literal(1), seen).where(UpstreamPage.skeleton == look, seen != name)
    found = sorted((place, alike) for place, alike in session.execute(union_all(local, upstream)))
    return list(dict.fromkeys(alike for _place, alike in found))


def is_local(session: Session, name: str) -> bool:
    """Whether a normalised name is a project of ours."""
    return session.get(Project, name) is not None


def is_ours(session: Session, name: str) -> bool:
    """Whether a normalised name is local or reserved, so that no upstream is ever asked for it."""
    return is_local(session, name) or bool(namespaces.covering(session, name))


def _since(project: Project) -> Callable[[int], None]:
    def note(serial: int) -> None:
        project.local_since = serial

    return note
