"""What the tests of this room share: a real server, a real worker, waiting on conditions."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import redis

from buildfarm.cli.redis_server import redis_child, redis_url, socket_file
from buildfarm.sockets import short_socket_path
from tests.waiting import wait_for

HERE = Path(__file__).parent
ALLOWED = ("farmjobs.note", "farmjobs.hold", "farmjobs.fail")
PASSWORD = "pass word/#?"


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


class Server:
    """An embedded server that can be killed and started again."""

    def __init__(self, folder: Path, acl: tuple[str, ...] = ()) -> None:
        self.child = redis_child(folder, password=PASSWORD, acl=acl)
        self.url = redis_url(short_socket_path(socket_file(folder)), PASSWORD)
        self.start()
        self.admin = redis.Redis.from_url(self.url)

    def start(self) -> None:
        with self.child.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                self.child.argv, cwd=self.child.cwd, env=self.child.env, stdout=log, stderr=log
            )
        wait_for(self.child.ready, "the server")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def url_of(self, username: str, password: str) -> str:
        return redis_url(short_socket_path(socket_file(self.child.cwd)), password, username=username)


class WorkerProcess:
    """A worker in a process of its own, with its record of what ran and its log."""

    def __init__(self, folder: Path, url: str, name: str, queues: tuple[str, ...]) -> None:
        self.folder = folder
        self.log_file = folder / f"{name}-{time.monotonic_ns()}.log"
        path = os.pathsep.join([str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])])
        with self.log_file.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(HERE / "work.py"), url, name, *queues],
                stderr=log,
                env=dict(os.environ, FARM_TEST_DIR=str(folder), PYTHONPATH=path),
            )
        self.wait_log("worker.started")

    def log(self, event: str) -> list[dict]:
        whole, _, _ = self.log_file.read_text().rpartition("\n")
        return [line for line in map(json.loads, whole.splitlines()) if line["event"] == event]

    def wait_log(self, event: str, count: int = 1) -> dict:
        wait_for(lambda: len(self.log(event)) >= count, f"{event} x{count} in the worker's log")
        return self.log(event)[count - 1]

    def horse(self, work_id: str) -> int:
        file = self.folder / f"{work_id}.pid"
        wait_for(file.exists, f"{work_id} to run")
        return int(file.read_text())

    def let_go(self, work_id: str) -> None:
        (self.folder / f"{work_id}.go").touch()


def ran(folder: Path) -> list[str]:
    record = folder / "ran"
    return record.read_text().splitlines() if record.exists() else []
