"""Connecting a source: its row, the secrets of its hook, and the end of both.

Granting projects is the index's business (`buildfarm.index.names`): a shell calls both in one
transaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from sqlalchemy import delete, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from buildfarm import clock
from buildfarm.errors import Conflict, InvalidInput
from buildfarm.ids import new_id
from buildfarm.journal.record import record
from buildfarm.scm import pulls
from buildfarm.scm.answers import outbox
from buildfarm.scm.forges.model import ForgeAccess
from buildfarm.scm.generic_settings import GenericSettings
from buildfarm.scm.kinds import kind_of, receiver_of, scm_for
from buildfarm.scm.model import Sighting
from buildfarm.scm.secret import SecretKind, check_secret, new_secret
from buildfarm.sources.credentials import forget_credential
from buildfarm.sources.model import OWNER, REPOSITORY, PullRequest, Source, SourceSecret
from buildfarm.sources.names import REMOVED, checked_globs, checked_name, checked_tier
from buildfarm.sources.pulls import Policy, checked_policy
from buildfarm.sources.rules import checked_url


@dataclass(frozen=True)
class HookSecrets:
    """What is entered in the SCM's settings; shown once.

    `secret` is what the SCM calls secret or token; `signing_token` the Standard Webhooks key, where
    the SCM has one (for `generic` it is the only secret, so both are the same).
    """

    secret: str = field(repr=False)
    signing_token: str | None = field(repr=False)


def hook_url(public_url: str, name: str) -> str:
    """Where the SCM sends deliveries of this source."""
    return f"{public_url.rstrip('/')}/hooks/{name}"


def add_source(
    session: Session,
    name: str,
    url: str,
    *,
    scm: str | None,
    branches: Sequence[str],
    tier: str,
    allow_file: bool,
    actor: str,
    tags: Sequence[str] = ("*",),
    paths: Sequence[str] = (),
    pull_requests: str = Policy.OWN,
    settings: GenericSettings | None = None,
    scope: str = REPOSITORY,
) -> tuple[Source, HookSecrets]:
    """A new source and the secrets of its hook. Tags are built unless told otherwise, branches if named.

    A build publishes what it makes, and a file name means the same bytes for ever: a branch is followed
    where each of its commits has a version of its own. Builds read the channel dev, those of the tier
    untrusted none: `index.buildview.grant_reading` changes that.

    Raises:
        InvalidInput: `source.name`, `source.url_refused`, `source.scm_unknown`, `source.tier`,
            `source.glob`, `source.pull_requests`, `source.generic_settings`.
        Conflict: `source.exists`.
    """
    checked_name(name)
    whole = scope == OWNER and not urlsplit(url).path.strip("/")  # all that the host has
    checked_url(f"{url.rstrip('/')}/all" if whole else url, allow_file=allow_file)
    taken = Conflict(f"There is a source {name} already.", code="source.exists")
    if session.execute(select(Source.id).where(Source.name == name)).first():
        raise taken
    source = Source(
        id=new_id("src"),
        name=name,
        scope=scope,
        scm=scm_for(scm or kind_of(url), settings).kind,
        url=url,
        projects=[],
        branches=checked_globs(branches),
        tags=checked_globs(tags),
        paths=checked_globs(paths),
        pull_requests=checked_policy(pull_requests),
        scm_settings=settings.model_dump(mode="json") if settings else None,
        tier=checked_tier(tier),
        reads=[] if tier == "untrusted" else ["dev"],
        created_at=clock.now(),
    )
    session.add(source)
    try:
        session.flush()
    except IntegrityError as err:
        raise taken from err
    record(
        session, "source.add", source=source.id, name=name, scope=scope, scm=source.scm,
        settings=source.scm_settings, tier=tier, actor=actor,
    )  # fmt: skip
    return source, _new_secrets(session, source)


def rotate_secrets(session: Session, source: Source, *, actor: str) -> HookSecrets:
    """New secrets beside the newest of each kind, which stays live until the next rotation."""
    _retire(session, source, actor)
    return _new_secrets(session, source)


def take_secret(session: Session, source: Source, value: str, *, actor: str) -> None:
    """The secret that the SCM made, beside the newest one, which stays live until the next rotation.

    Raises:
        InvalidInput: `source.secret_weak`; `source.secret_made_here`, this kind is given the farm's own.
    """
    if receiver_of(source).secret_kinds != ("hmac",):
        raise InvalidInput(
            f"A source of the kind {source.scm} has secrets that the farm makes.",
            code="source.secret_made_here",
            hint="Leave the secret out and enter the printed one in the SCM.",
        )
    check_secret("hmac", value)
    _retire(session, source, actor)
    _keep_secret(session, source, "hmac", value)


def follow(
    session: Session,
    source: Source,
    *,
    branches: Sequence[str] | None,
    tags: Sequence[str] | None,
    paths: Sequence[str] | None,
    pull_requests: str | None,
    actor: str,
) -> None:
    """What of the repository is built from now on, as globs; what is None stays as it is.

    Raises:
        InvalidInput: `source.glob`, `source.pull_requests`.
    """
    source.branches = source.branches if branches is None else checked_globs(branches)
    source.tags = source.tags if tags is None else checked_globs(tags)
    source.paths = source.paths if paths is None else checked_globs(paths)
    source.pull_requests = source.pull_requests if pull_requests is None else checked_policy(pull_requests)
    record(
        session, "source.follow", source=source.id, branches=source.branches, tags=source.tags,
        paths=source.paths, pull_requests=source.pull_requests, actor=actor,
    )  # fmt: skip


def move_source(session: Session, source: Source, url: str, *, allow_file: bool, actor: str) -> None:
    """The repository has another URL from now on; only a person says so, never a delivery.

    Its credential and token were given to one host: for another one they are forgotten. What the repository
    held at first sight is too, so that another one's history is not built.

    Raises:
        InvalidInput: `source.url_refused`.
    """
    new = checked_url(url, allow_file=allow_file)
    old = checked_url(source.url, allow_file=True)
    if (new.scheme, new.host, new.port) != (old.scheme, old.host, old.port):
        _forget_secrets(session, source)
    session.execute(delete(Sighting).where(Sighting.source_id == source.id))
    record(session, "source.move", source=source.id, old=source.url, new=url, actor=actor)
    source.url, source.moved_to = url, None


def limit_jobs(session: Session, source: Source, jobs_max: int | None, *, actor: str) -> None:
    """How many jobs of the source may be with builders at a time; None for any number.

    What is with builders already stays there.
    """
    source.jobs_max = jobs_max
    record(session, "source.limit", source=source.id, jobs_max=jobs_max, actor=actor)


def remove_source(session: Session, source: Source, *, actor: str) -> None:
    """End a source or connection: its hook is refused from now on, history stays, the name is free again."""
    session.execute(delete(SourceSecret).where(SourceSecret.source_id == source.id))
    _forget_secrets(session, source)
    for one in session.scalars(select(PullRequest).where(PullRequest.source_id == source.id)):
        pulls.close(session, one, clock.now())
    record(session, "source.remove", source=source.id, name=source.name, actor=actor)
    for name in source.projects:
        record(session, "project.revoke", project=name, source=source.id, actor=actor)
    source.name = f"{source.name}{REMOVED}{source.id}"
    source.projects, source.branches = [], []


def _forget_secrets(session: Session, source: Source) -> None:
    """What the SCM let the farm do is over: the credential, the token for its API, what was to be told."""
    forget_credential(session, source)
    session.execute(delete(ForgeAccess).where(ForgeAccess.source_id == source.id))
    outbox.drop(session, source.id)


def _retire(session: Session, source: Source, actor: str) -> None:
    """All secrets but the newest of each kind are refused from now on."""
    session.refresh(source, with_for_update=True)  # an administrator and a worker may do so at once
    newest = {secret.kind: secret.id for secret in sorted(source.secrets, key=lambda one: one.created_at)}
    session.execute(
        delete(SourceSecret).where(
            SourceSecret.source_id == source.id, SourceSecret.id.not_in(newest.values())
        )
    )
    record(session, "source.rotate", source=source.id, actor=actor)


def _keep_secret(session: Session, source: Source, kind: SecretKind, value: str) -> None:
    session.add(
        SourceSecret(id=new_id("sec"), source_id=source.id, kind=kind, value=value, created_at=clock.now())
    )


def _new_secrets(session: Session, source: Source) -> HookSecrets:
    made = {kind: new_secret(kind) for kind in receiver_of(source).secret_kinds}
    for kind, value in made.items():
        _keep_secret(session, source, kind, value)
    return HookSecrets(next(iter(made.values())), made.get("signing"))
