"""Connections: one hook for all repositories of an owner, and whose source a delivery of it is for."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from buildfarm.errors import FarmError, InvalidInput
from buildfarm.scm import connect
from buildfarm.scm.connect import HookSecrets
from buildfarm.scm.forges import address
from buildfarm.scm.forges.model import ForgeAccess
from buildfarm.scm.kinds import kind_of
from buildfarm.scm.port import Event
from buildfarm.sources.model import OWNER, REPOSITORY, Source
from buildfarm.sources.rules import checked_url
from buildfarm.sources.show import SourceRow, live

#: The kinds with hooks over all of a server; the global ones of GitHub Enterprise Server tell of no push.
_WHOLE = frozenset({"gitlab", "gitea", "forgejo"})


def add_connection(
    session: Session,
    name: str,
    url: str,
    *,
    scm: str | None,
    branches: Sequence[str],
    tags: Sequence[str] = ("*",),
    tier: str,
    actor: str,
) -> tuple[Source, HookSecrets]:
    """A connection and the secrets of its hook.

    `url` is the address of an organisation, group, project or workspace, or of the SCM itself for a hook that
    its administrator enters for all repositories. Patterns and tier are those of the sources that come of it.

    Raises:
        InvalidInput: `connection.scm`, the kind of SCM has no such hooks; `connection.whole_scm`, none over
            the whole of it; else as `connect.add_source`.
        Conflict: `source.exists`: sources and connections share their names, as they share hook URLs.
    """
    kind = scm or kind_of(url)
    if kind not in address.KINDS:
        raise InvalidInput(
            f"An SCM of the kind {kind} has no hooks over several repositories.",
            code="connection.scm",
            hint=f"Say which it is with --scm: {', '.join(address.KINDS)}.",
        )
    if kind not in _WHOLE and not urlsplit(url).path.strip("/"):
        raise InvalidInput(
            f"An SCM of the kind {kind} has no hook that tells of all pushes to a server.",
            code="connection.whole_scm",
            hint="Give the address of an organisation, project or workspace, and connect each.",
        )
    return connect.add_source(
        session, name, url, scm=kind, branches=branches, tags=tags, tier=tier, allow_file=False, actor=actor,
        scope=OWNER,
    )  # fmt: skip


def targets(session: Session, connection: Source, event: Event) -> list[Source]:
    """The sources that listen to the repository of which the connection's hook tells.

    By their ids: who holds several sources, as grants and waves do, holds them in this order.
    """
    path = event.repository.lower()
    if not path:
        return []
    url = func.lower(Source.url)
    found = session.scalars(
        live(REPOSITORY)
        .where(or_(url.endswith(f"/{path}", autoescape=True), url.endswith(f"/{path}.git", autoescape=True)))
        .order_by(None)
        .order_by(Source.id)
    )
    api = known_api(session, connection)
    return [
        source
        for source in found
        if _holds(connection, api, source.url, path)
        and address.repository_path(connection.scm, source.url, api).lower() == path
    ]


def repository_url(session: Session, connection: Source, event: Event) -> str | None:
    """Where the repository is that the hook tells of; None unless it is the connection's owner's."""
    url = event.repository_url or ""
    try:
        checked_url(url, allow_file=False)
    except FarmError:
        return None
    return url if _holds(connection, known_api(session, connection), url, event.repository) else None


def covering(session: Session, source: Source | SourceRow) -> Source | None:
    """The connection by whose hook the source's pushes come; None where it needs one of its own."""
    for connection in session.scalars(live(OWNER).where(Source.scm == source.scm)):
        api = known_api(session, connection)
        if _holds(connection, api, source.url, address.repository_path(source.scm, source.url, api)):
            return connection
    return None


def _holds(connection: Source, api: str, url: str, path: str) -> bool:
    """Whether the repository at a URL, which the SCM calls `path`, is one of the connection's owner.

    Whoever knows the hook's secret can name any repository, and the connection's credential goes where it is.
    """
    owner = address.owner_path(connection.scm, connection.url, api).lower()
    return _is_one_scm(connection.url, url) and (not owner or path.lower().startswith(f"{owner}/"))


def known_api(session: Session, connection: Source) -> str:
    """Its address tells below which path of its host an SCM lives; empty where nobody has said it."""
    known = select(ForgeAccess.api_url).where(ForgeAccess.source_id == connection.id)
    return session.scalars(known).first() or ""


def _is_one_scm(one: str, other: str) -> bool:
    """Whether both are URLs of one host, and of one port unless ssh has its own there."""
    (host, port), (other_host, other_port) = _place(one), _place(other)
    return host == other_host and (port == other_port or None in (port, other_port))


def _place(url: str) -> tuple[str, int | None]:
    """Host and port of a URL, the port None where it is ssh's; `ssh.github.com` is `github.com`."""
    parts = urlsplit(url)
    port = None if parts.scheme == "ssh" else parts.port or {"https": 443, "http": 80}.get(parts.scheme)
    return (parts.hostname or "").lower().removeprefix("ssh."), port
