"""Logins of the queue server: what a builder may do there, and how one of another host comes by its own."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from sqlalchemy import select
from sqlalchemy.orm import Session

from buildfarm.access.model import Token
from buildfarm.config import Settings
from buildfarm.errors import Conflict, InvalidInput
from buildfarm.farm.machines import families
from buildfarm.farm.model import Builder
from buildfarm.farm.wire import job_kind

if TYPE_CHECKING:
    from buildfarm.farm.queue import Queues

#: How the users of builders begin.
_BUILDERS = "blr-"
_USER = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}", re.ASCII)
_QUEUE_PREFIX = re.compile(r"build\.[a-z0-9]+-[a-z0-9_]+\.(release|dev|untrusted)", re.ASCII)


@dataclass(frozen=True)
class Joined:
    """What a builder of another host needs for the queue server: a URL with its login, and its queues."""

    name: str
    redis: str
    redis_user: str
    prefixes: tuple[str, ...]


def join(
    builder: Builder, machine: str, emulates: Sequence[str], settings: Settings, queues: Queues
) -> Joined:
    """Admit a host that runs a builder to the queue server, for its tiers of the platforms that it can run.

    Args:
        builder: whose token was shown.
        machine: the host's, such as `x86_64`.
        emulates: other machines whose platforms it takes as well.
        settings: say where such hosts reach the server.
        queues: for its administration.

    Raises:
        Conflict: `queue.closed`, other hosts cannot reach the server.
        InvalidInput: `queue.acl_invalid`, there is no such machine.
        ExternalFailure: `queue.unreachable`.
    """
    if not settings.builder_redis:
        raise Conflict(
            "The queue server of this farm cannot be reached from other hosts.",
            code="queue.closed",
            hint="Start the farm with `buildfarm up --queue-port PORT`, or set BUILDFARM_BUILDER_REDIS.",
        )
    builder.machine, builder.emulates = machine, sorted(set(emulates))
    user, password = user_of(builder), _password(builder, settings)
    queues.admit(user, _acl(builder, settings))
    scheme, _, rest = settings.builder_redis.partition("://")
    return Joined(builder.name, f"{scheme}://{user}:{password}@{rest}", user, _prefixes(builder))


def keep_logins(session: Session, settings: Settings, queues: Queues) -> None:
    """Give back the logins that the server has lost, and end those whose builder's token is no more.

    Raises:
        ExternalFailure: `queue.unreachable`.
    """
    if not settings.builder_redis:
        return
    living = select(Builder).join(Token, Token.id == Builder.token_id)
    wanted = {
        user_of(builder): builder
        for builder in session.scalars(living.where(Builder.machine.is_not(None), Token.revoked_at.is_(None)))
    }
    present = {name for name in queues.users() if name.startswith(_BUILDERS)}
    for user in sorted(wanted.keys() - present):
        queues.admit(user, _acl(wanted[user], settings))
    for user in sorted(present - wanted.keys()):
        queues.expel(user)


def user_of(builder: Builder) -> str:
    """The builder's user on the queue server: of its id, for names may be taken anew."""
    return builder.id.replace("_", "-").lower()


def _acl(builder: Builder, settings: Settings) -> str:
    return builder_acl(user_of(builder), _password(builder, settings), _prefixes(builder))


def _prefixes(builder: Builder) -> tuple[str, ...]:
    return prefixes_of(builder.machine or "", builder.emulates, builder.tiers)


def prefixes_of(machine: str, emulates: Sequence[str], tiers: Sequence[str]) -> tuple[str, ...]:
    """What the names of a builder's queues begin with, those that it must emulate last."""
    return tuple(f"build.{family}.{tier}" for family in families(machine, emulates) for tier in tiers)


def _password(builder: Builder, settings: Settings) -> str:
    """Made of the farm's own and the builder's token: stored nowhere, and another token makes another."""
    own = urlsplit(settings.redis).password or settings.redis
    return hmac.new(own.encode(), f"{builder.id}:{builder.token_id}".encode(), "sha256").hexdigest()


def join_command(public_url: str, token: str) -> str:
    """The line that starts a builder on its host."""
    return f"buildfarm builder join {public_url} --token {token}"


def builder_acl(username: str, password: str, queue_prefixes: Sequence[str]) -> str:
    """One line of an ACL file: a builder's login, enough for an RQ worker on its queues.

    Whoever steals it can disturb the build queues it names, which the keeper repairs; not read or
    write anything else, nor run scripts. Its words after `user` also suit `ACL SETUSER`.

    Args:
        username: also begins the names of the worker processes that use it.
        password: stored as its SHA-256.
        queue_prefixes: `build.<platform>-<arch>.<tier>`; every class of each is included.

    Raises:
        InvalidInput: a name or prefix out of its grammar (`queue.acl_invalid`): inside a pattern
            it could widen the login.
    """
    if not _USER.fullmatch(username) or username in ("default", "farm"):
        raise InvalidInput(f"{username!r} cannot be a builder's name in Redis.", code="queue.acl_invalid")
    for prefix in queue_prefixes:
        if not _QUEUE_PREFIX.fullmatch(prefix):
            raise InvalidInput(f"{prefix!r} is no build queue prefix.", code="queue.acl_invalid")
    by_queue = ("queue", "wip", "workers", "clean_registries")
    by_job = ("job", "job:", "execution", "executions", "results")
    rules = [
        *(f"~rq:{kind}:{prefix}.*" for prefix in queue_prefixes for kind in by_queue),
        *(f"~rq:{kind}:{job_kind(prefix)}_*" for prefix in queue_prefixes for kind in by_job),
        *("~rq:workers", f"~rq:worker:{username}.*", "%R~rq:worker:*", f"&rq:pubsub:{username}.*"),
        *("-@all", "+@read", "+@write", "+@transaction", "+@pubsub", "+@connection"),
        *("-@dangerous", "-@admin", "-@scripting", "+info"),
        # What reads or lists without naming a key is not covered by key patterns.
        *("-scan", "-randomkey", "-dbsize", "-pubsub", "-select"),
    ]
    return " ".join([login(username, password), *rules])


def login(username: str, password: str) -> str:
    """The beginning of an ACL line: the user as new, with this password, stored as its SHA-256."""
    return f"user {username} reset on #{hashlib.sha256(password.encode()).hexdigest()}"
