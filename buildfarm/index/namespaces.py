"""Namespaces: a prefix of names that is reserved for its owners, whether or not a project exists yet.

A grant covers the name itself and every name that goes on with a hyphen. Grants do not overlap unless
the same owners hold both. Source: PEP 752.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from buildfarm import clock
from buildfarm.access.model import Token, User
from buildfarm.errors import Conflict, InvalidInput, NotFound
from buildfarm.index.model import Namespace, Project
from buildfarm.index.spelling import normal_name
from buildfarm.journal.record import record
from buildfarm.sources.model import Source

#: Hyphens that a prefix may have at most (PEP 752 asks for a limit).
_DEPTH = 4


@dataclass(frozen=True)
class NamespaceRow:
    """A reserved prefix; `projects` are the local names it covers, `since` the journal serial."""

    prefix: str
    owners: tuple[str, ...]
    since: int
    created_at: datetime
    projects: tuple[str, ...]


def add(session: Session, prefix: str, owners: Sequence[str], *, actor: str) -> Namespace:
    """Reserve a prefix.

    Owners read `source:NAME`, `user:NAME` or `token:ID`; without one, administrators alone publish there.

    Raises:
        InvalidInput: `project.name`; `namespace.depth`; `namespace.owner`, nobody is called that.
        Conflict: `namespace.exists`; `namespace.overlap`, other owners hold a part of it or all around it.
    """
    name = normal_name(prefix)
    held = sorted({_known_owner(session, owner) for owner in owners})
    if name.count("-") > _DEPTH:
        raise InvalidInput(f"A namespace has at most {_DEPTH} hyphens.", code="namespace.depth")
    if session.get(Namespace, name):
        raise Conflict(f"The namespace {name} is reserved already.", code="namespace.exists")
    below = select(Namespace).where(Namespace.prefix.startswith(f"{name}-", autoescape=True))
    for other in [*session.scalars(below), *covering(session, name)]:
        if other.owners != held:
            raise Conflict(
                f"The namespace {other.prefix} overlaps with {name} and has other owners.",
                code="namespace.overlap",
                hint=f"`buildfarm namespace show {other.prefix}` lists them.",
            )
    namespace = Namespace(prefix=name, owners=held, since=0, created_at=clock.now())
    session.add(namespace)
    # The prefix is a name itself, so it is the name that the row is about.
    record(
        session, "namespace.add", project=name, prefix=name, owners=held, actor=actor,
        on_serial=_since(namespace),
    )  # fmt: skip
    return namespace


def remove(session: Session, prefix: str, *, actor: str) -> Namespace:
    """Give a prefix up; names that are local stay so.

    Raises:
        NotFound: `namespace.unknown`.
    """
    namespace = get(session, prefix)
    session.delete(namespace)
    record(
        session, "namespace.remove", project=namespace.prefix, prefix=namespace.prefix, actor=actor
    )  # fmt: skip
    return namespace


def get(session: Session, prefix: str) -> Namespace:
    """One namespace, its prefix in any spelling.

    Raises:
        NotFound: `namespace.unknown`.
    """
    namespace = session.get(Namespace, normal_name(prefix))
    if namespace is None:
        raise NotFound(f"There is no namespace {prefix}.", code="namespace.unknown")
    return namespace


def covering(session: Session, name: str) -> list[Namespace]:
    """The grants that cover a normalised name, the shortest prefix first."""
    found = session.scalars(select(Namespace).where(Namespace.prefix.in_(prefixes(name))))
    return sorted(found, key=lambda namespace: len(namespace.prefix))


def prefixes(name: str) -> list[str]:
    """The namespaces that would cover a normalised name, the shortest first."""
    parts = name.split("-")[: _DEPTH + 1]
    return ["-".join(parts[:count]) for count in range(1, len(parts) + 1)]


def demand_owner(
    name: str, project: Project | None, grants: Iterable[Namespace], subjects: Iterable[str]
) -> None:
    """Refuse to publish a reserved name for anybody but its owners; older local names stay as they were.

    `project` is the local one of that name, `grants` are those that cover the name.

    Raises:
        Conflict: `namespace.reserved`.
    """
    held = frozenset(subjects)
    for namespace in grants:
        is_older = project is not None and project.local_since < namespace.since
        if not is_older and not held & set(namespace.owners):
            raise Conflict(
                f"The name {name} belongs to the reserved namespace {namespace.prefix}.",
                code="namespace.reserved",
                hint="Its owners or an administrator publish here; take another name otherwise.",
            )


def list_rows(session: Session) -> list[NamespaceRow]:
    """Every namespace, by prefix."""
    return [row(session, one) for one in session.scalars(select(Namespace).order_by(Namespace.prefix))]


def row(session: Session, namespace: Namespace) -> NamespaceRow:
    """The read model of a row."""
    covered = select(Project.name).where(
        (Project.name == namespace.prefix) | Project.name.startswith(f"{namespace.prefix}-", autoescape=True)
    )
    return NamespaceRow(
        prefix=namespace.prefix,
        owners=tuple(namespace.owners),
        since=namespace.since,
        created_at=namespace.created_at,
        projects=tuple(session.scalars(covered.order_by(Project.name))),
    )


def _known_owner(session: Session, owner: str) -> str:
    kind, _, name = owner.partition(":")
    columns = {"source": Source.name, "user": User.name, "token": Token.id}
    column = columns.get(kind)
    if column is None or session.execute(select(column).where(column == name)).first() is None:
        raise InvalidInput(
            f"{owner[:100]!r} is nobody here.",
            code="namespace.owner",
            hint="Owners read source:NAME, user:NAME or token:ID.",
        )
    return owner


def _since(namespace: Namespace) -> Callable[[int], None]:
    def note(serial: int) -> None:
        namespace.since = serial

    return note
