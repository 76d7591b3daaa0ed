"""What sources and connections are given alike: a credential, a token, and the secrets of a hook."""

from __future__ import annotations

from dataclasses import dataclass

from flask import Response
from pydantic import SecretStr
from sqlalchemy.orm import Session

from buildfarm.scm import connect
from buildfarm.scm.forges import access
from buildfarm.scm.forges.access import Given
from buildfarm.sources import credentials, show
from buildfarm.sources.contract import Credential
from buildfarm.sources.model import Source
from buildfarm.sources.show import SourceRow
from webapp.api.answer import answer
from webapp.api.spec import Body
from webapp.context import farm


@dataclass(frozen=True)
class SourceSecrets(SourceRow):
    """A source with new secrets of its hook, which are shown this once."""

    hook_url: str
    secret: str
    signing_token: str | None


class NewCredential(Body):
    """What a private repository asks for: user name and password, or an ssh key; and whom it is known by.

    `known_hosts` is the text of such a file, `ca` certificates in PEM form; no answer ever shows them.
    """

    username: str = ""
    password: SecretStr | None = None
    ssh_key: SecretStr | None = None
    known_hosts: str = ""
    ca: str = ""


class NewScmToken(Body):
    """How the SCM's API is spoken to; `api_url` empty: where the repository's URL suggests.

    `token` is an access token, or with `app_id` the private key of a GitHub App in PEM form; `ca` are
    certificates in PEM form. No answer ever shows the token.
    """

    token: SecretStr
    api_url: str = ""
    app_id: str | None = None
    ca: str = ""


class NewHooked(Body):
    """What a source and a connection are told alike; without `scm` the URL decides which it is."""

    name: str
    url: str
    scm: str | None = None
    branches: list[str] = []
    tags: list[str] = ["*"]
    tier: str = "dev"
    credential: NewCredential | None = None
    scm_token: NewScmToken | None = None


def to_credential(body: NewCredential) -> Credential:
    """What the fetcher is handed."""
    return Credential(**dict(body))


def to_given(body: NewScmToken) -> Given:
    """What an administrator says of the SCM's API."""
    return Given(body.token.get_secret_value().strip(), body.api_url, body.app_id, body.ca)


def hook_url(name: str) -> str:
    """Where the SCM sends deliveries."""
    return connect.hook_url(farm().settings.public_url, name)


def row_now(session: Session, source: Source) -> SourceRow:
    """The source as it is after what this transaction did to it."""
    session.flush()
    session.refresh(source)
    return show.source_row(source)


def added(
    session: Session, source: Source, body: NewHooked, secrets: connect.HookSecrets, *, actor: str
) -> Response:
    """Keep the credential and the token that a new source or connection came with; the answer for it."""
    if body.credential:
        credentials.set_credential(session, source, to_credential(body.credential), actor=actor)
    if body.scm_token:
        access.set_access(session, source, to_given(body.scm_token), actor=actor)
    return answer(with_secrets(row_now(session, source), secrets), 201)


def with_secrets(row: SourceRow, secrets: connect.HookSecrets) -> SourceSecrets:
    """The answer that shows new secrets."""
    return SourceSecrets(
        **vars(row),
        hook_url=hook_url(row.name),
        secret=secrets.secret,
        signing_token=secrets.signing_token,
    )
