"""A PostgreSQL of one's own, for as long as a block lasts."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, text

from buildfarm.tables import Base
from tests.waiting import wait_for


@dataclass
class PostgresCluster:
    """A throw-away PostgreSQL on a unix socket alone."""

    folder: Path
    count: int = 0

    def url(self, name: str) -> str:
        return f"postgresql+psycopg://farm@/{name}?host={self.folder}"

    def run(self, *statements: str, name: str = "postgres") -> None:
        engine = create_engine(self.url(name), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            for statement in statements:
                connection.execute(text(statement))
        engine.dispose()

    def fresh(self) -> str:
        self.count += 1
        self.run(f"CREATE DATABASE test_{self.count}")
        return f"test_{self.count}"

    def empty(self, name: str) -> None:
        tables = ", ".join(f'"{table}"' for table in Base.metadata.tables)
        self.run(f"TRUNCATE {tables}", "INSERT INTO journal_head (id, size) VALUES (1, 0)", name=name)


def postgres_programs() -> Path | None:
    """The folder of the newest that is installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[4]))
    return found[-1].parent if found else None


@contextlib.contextmanager
def running_cluster(programs: Path) -> Iterator[PostgresCluster]:
    """A cluster with the empty database `farm`; it is gone with all it held at the end of the block."""
    folder = Path(tempfile.mkdtemp(prefix="bf-pg-"))
    user: dict[str, Any] = {}
    if os.geteuid() == 0:  # it refuses to run as root
        account = pwd.getpwnam("postgres")
        os.chown(folder, account.pw_uid, account.pw_gid)
        user = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
    data = folder / "data"
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": folder} | user
    initdb = [programs / "initdb", "-D", data, "-U", "farm", "-A", "trust", "-E", "UTF8", "--locale=C"]
    subprocess.run([*initdb, "--no-sync"], check=True, **quiet)
    options = {
        "listen_addresses": "", "unix_socket_directories": folder, "fsync": "off", "full_page_writes": "off",
        "synchronous_commit": "off", "shared_buffers": "32MB", "max_connections": "150",
    }  # fmt: skip
    settings = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
    server = subprocess.Popen([programs / "postgres", "-D", data, *settings], **quiet)
    cluster = PostgresCluster(folder)
    try:
        wait_for(lambda: _answers(cluster) or server.poll() is not None)
        cluster.run("CREATE DATABASE farm")
        yield cluster
    finally:
        server.send_signal(signal.SIGINT)  # "fast": does not wait for clients
        server.wait(30)
        shutil.rmtree(folder, ignore_errors=True)


def _answers(cluster: PostgresCluster) -> bool:
    with contextlib.suppress(Exception):
        cluster.run("SELECT 1")
        return True
    return False
