"""Credentials for SCMs' APIs: set by an administrator, used by workers, never shown; and opening an API."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from sqlalchemy.orm import Session, undefer

from buildfarm import clock
from buildfarm.errors import InvalidInput, NotFound
from buildfarm.journal.record import record
from buildfarm.scm.forges import address
from buildfarm.scm.forges.model import ForgeAccess
from buildfarm.scm.forges.port import Forge
from buildfarm.sources.model import OWNER, Source

_MOST_BYTES = 64 << 10


@dataclass(frozen=True)
class Given:
    """What an administrator says; `api_url` empty: where the source's URL suggests.

    `token` is an access token, or with `app_id` the private key of a GitHub App (PEM). `ca` are authorities
    of the API's certificate (PEM), empty where the machine's do.
    """

    token: str = field(repr=False)
    api_url: str = ""
    app_id: str | None = None
    ca: str = ""


@dataclass(frozen=True)
class Opening:
    """All that opening an API takes; `repository` is the owner's name where `is_owner`."""

    kind: str
    api_url: str
    repository: str
    app_id: str | None
    token: str = field(repr=False)
    ca: str
    is_owner: bool = False


def set_access(session: Session, source: Source, given: Given, *, actor: str) -> ForgeAccess:
    """Keep how the source's SCM is spoken to, in place of what was kept before; its hook stays known.

    Raises:
        InvalidInput: `forge.none`, `forge.api_url`, `forge.token`.
    """
    if source.scope == OWNER and not urlsplit(source.url).path.strip("/"):
        raise InvalidInput(
            "A hook over a whole SCM is not made by its API.",
            code="forge.none",
            hint="Its administrator enters the hook's URL and secret there.",
        )
    derived = address.api_url(source.scm, source.url)
    api_url = address.checked_api_url(given.api_url or derived)
    _demand_sense(source.scm, given)
    row = session.get(ForgeAccess, source.id) or ForgeAccess(source_id=source.id, hook_id=None)
    row.api_url, row.host = api_url, urlsplit(api_url).netloc.lower()
    row.app_id, row.token, row.ca = given.app_id, given.token, given.ca
    row.created_at, row.last_used_at = clock.now(), None
    session.add(row)
    record(session, "source.scm_token", source=source.id, api=api_url, app=given.app_id, actor=actor)
    return row


def remove_access(session: Session, source: Source, *, actor: str) -> None:
    """Forget it; what waits to be said is `answers.outbox.drop`'s to end.

    Raises:
        NotFound: `forge.no_token`.
    """
    session.delete(access_of(session, source))
    record(session, "source.scm_token", source=source.id, api=None, app=None, actor=actor)


def access_of(session: Session, source: Source) -> ForgeAccess:
    """The row.

    Raises:
        NotFound: `forge.no_token`.
    """
    row = session.get(ForgeAccess, source.id)
    if row is None:
        raise NotFound(
            f"The farm has no token for the SCM of {source.name}.",
            code="forge.no_token",
            hint="Give one with `buildfarm source set-scm-token`.",
        )
    return row


def opening(session: Session, source: Source) -> Opening:
    """What opening the source's API takes; notes that it is used now.

    Raises:
        NotFound: `forge.no_token`.
    """
    row = session.get(ForgeAccess, source.id, options=(undefer(ForgeAccess.token),))
    row = row or access_of(session, source)
    row.last_used_at = clock.now()
    is_owner = source.scope == OWNER
    path = address.owner_path if is_owner else address.repository_path
    repository = path(source.scm, source.url, row.api_url)
    return Opening(source.scm, row.api_url, repository, row.app_id, row.token, row.ca, is_owner)


@contextmanager
def opened(what: Opening) -> Iterator[Forge]:
    """The API; nothing is asked of it yet."""
    if not what.ca:
        yield _forge(what, None)
        return
    with tempfile.NamedTemporaryFile("w", prefix="ca-", suffix=".pem") as ca_file:
        ca_file.write(what.ca)
        ca_file.flush()
        yield _forge(what, ca_file.name)


def _forge(what: Opening, ca_file: str | None) -> Forge:
    # Each is imported when a source has it: a worker pays for the libraries that it uses.
    match what.kind:
        case "github":
            from buildfarm.scm.forges.github import GitHubForge

            return GitHubForge(what.api_url, what.repository, what.token, app_id=what.app_id, ca_file=ca_file)
        case "gitlab":
            from buildfarm.scm.forges.gitlab import GitLabForge

            return GitLabForge(
                what.api_url, what.repository, what.token, ca_file=ca_file, is_group=what.is_owner
            )
        case "gitea" | "forgejo":
            from buildfarm.scm.forges.gitea import GiteaForge

            return GiteaForge(what.api_url, what.repository, what.token, ca_file=ca_file, product=what.kind)
        case "bitbucket-data-center":
            from buildfarm.scm.forges.bitbucket_dc import BitbucketDataCenterForge

            return BitbucketDataCenterForge(what.api_url, what.repository, what.token, ca_file=ca_file)
        case _:
            from buildfarm.scm.forges.bitbucket_cloud import BitbucketCloudForge

            return BitbucketCloudForge(what.api_url, what.repository, what.token, ca_file=ca_file)


def _demand_sense(kind: str, given: Given) -> None:
    problem = ""
    if not given.token.strip() or len(given.token) + len(given.ca) > _MOST_BYTES:
        problem = "it is empty or too long"
    elif given.app_id is not None and kind != "github":
        problem = "only GitHub has Apps"
    elif given.app_id is not None and not given.app_id.isdecimal():
        problem = "the id of an App is a number"
    elif given.app_id is not None and "PRIVATE KEY-----" not in given.token:
        problem = "an App proves itself by a private key in PEM form"
    elif given.app_id is None and not (given.token.isascii() and given.token.isprintable()):
        problem = "a token is one line of ASCII; a private key needs the App's id beside it"
    elif given.ca and "-----BEGIN CERTIFICATE-----" not in given.ca:
        problem = "the authorities are no certificates in PEM form"
    if problem:
        raise InvalidInput(f"This API token cannot be used: {problem}.", code="forge.token")
