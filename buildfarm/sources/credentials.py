"""Credentials of private repositories: set by an administrator, handed to the fetcher, never shown."""

from __future__ import annotations

from pydantic import SecretStr
from sqlalchemy import delete
from sqlalchemy.orm import Session, undefer

from buildfarm import clock
from buildfarm.errors import InvalidInput, NotFound
from buildfarm.journal.record import record
from buildfarm.sources.contract import Credential
from buildfarm.sources.model import Source, SourceCredential
from buildfarm.sources.rules import checked_url

PASSWORD, SSH_KEY, CA = "password", "ssh-key", "ca"
_MOST_BYTES = 256 << 10


def set_credential(session: Session, source: Source, given: Credential, *, actor: str) -> None:
    """Keep what the source's repository asks for, in place of what was kept before.

    Raises:
        InvalidInput: `source.credential_refused`, it is not whole, or does not go with the source's URL.
    """
    kind = checked_kind(source.url, given)
    row = session.get(SourceCredential, source.id) or SourceCredential(source_id=source.id)
    row.kind, row.username = kind, given.username
    row.password = given.password.get_secret_value() if given.password else None
    row.ssh_key = _lines(given.ssh_key.get_secret_value()) if given.ssh_key else None
    row.known_hosts, row.ca = _lines(given.known_hosts), _lines(given.ca)
    row.created_at, row.last_used_at = clock.now(), None
    session.add(row)
    record(session, "source.credential", source=source.id, credential=kind, actor=actor)


def remove_credential(session: Session, source: Source, *, actor: str) -> None:
    """Forget what was kept for the source.

    Raises:
        NotFound: `source.no_credential`.
    """
    if not forget_credential(session, source):
        raise NotFound(f"The source {source.name} has no credential.", code="source.no_credential")
    record(session, "source.credential", source=source.id, credential="none", actor=actor)


def forget_credential(session: Session, source: Source) -> bool:
    """Delete the row, if there is one, as part of what removes the source."""
    mine = delete(SourceCredential).where(SourceCredential.source_id == source.id)
    return session.execute(mine.returning(SourceCredential.source_id)).first() is not None


def take_credential(session: Session, source_id: str) -> Credential | None:
    """What the fetcher is handed, and note that it was used now."""
    secret = (undefer(SourceCredential.password), undefer(SourceCredential.ssh_key))
    # Who has the source has the row already, without its secrets.
    row = session.get(SourceCredential, source_id, options=secret, populate_existing=True)
    if row is None:
        return None
    row.last_used_at = clock.now()
    return Credential(
        username=row.username,
        password=SecretStr(row.password) if row.password else None,
        ssh_key=SecretStr(row.ssh_key) if row.ssh_key else None,
        known_hosts=row.known_hosts,
        ca=row.ca,
    )


def checked_kind(url: str, given: Credential) -> str:
    """What kind of credential it is; it must be whole, and of use for the URL.

    Raises:
        InvalidInput: `source.credential_refused`.
    """
    is_ssh = checked_url(url, allow_file=True).scheme == "ssh"
    texts = [given.username, given.known_hosts, given.ca]
    texts += [secret.get_secret_value() for secret in (given.password, given.ssh_key) if secret]
    problem = ""
    if sum(map(len, texts)) > _MOST_BYTES or any("\0" in text for text in texts):
        problem = "it is too large, or no text"
    elif is_ssh and (given.password or given.username or given.ca):
        problem = "an ssh URL takes a key, its user stands in the URL"
    elif not is_ssh and (given.ssh_key or given.known_hosts):
        problem = "a key and known hosts are for an ssh URL"
    elif bool(given.password) != bool(given.username):
        problem = "user name and password go together"
    elif given.ssh_key and "PRIVATE KEY-----" not in given.ssh_key.get_secret_value():
        problem = "the key is no private key in PEM form"
    elif given.ca and "-----BEGIN CERTIFICATE-----" not in given.ca:
        problem = "the authorities are no certificates in PEM form"
    elif not any(texts):
        problem = "nothing was given"
    if problem:
        raise InvalidInput(f"This credential cannot be used: {problem}.", code="source.credential_refused")
    if given.password and any(ord(char) < 32 for char in texts[0] + given.password.get_secret_value()):
        raise InvalidInput(
            "A user name or password with control characters cannot be used.",
            code="source.credential_refused",
        )
    return PASSWORD if given.password else SSH_KEY if given.ssh_key else CA


def _lines(text: str) -> str:
    """Unix lines with an end each: ssh takes no other key."""
    return "".join(f"{line}\n" for line in text.splitlines())
