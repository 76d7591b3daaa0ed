"""Real servers and workers, each in a folder of its own, all ended after the test."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from buildfarm.farm.queue import Queues

sys.path.insert(0, str(Path(__file__).parent))  # for the module that the tests here share

from queue_harness import ALLOWED, Server, WorkerProcess


@pytest.fixture
def make_server(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    servers: list[Server] = []

    def make(acl: tuple[str, ...] = ()) -> Server:
        servers.append(Server(tmp_path / f"redis{len(servers)}", acl))
        return servers[-1]

    yield make
    for server in servers:
        server.admin.close()
        server.kill()


@pytest.fixture
def server(make_server) -> Server:
    return make_server()


@pytest.fixture
def queues(server) -> Queues:
    return Queues(server.url, allow=ALLOWED)


@pytest.fixture
def make_worker(tmp_path: Path) -> Iterator[Callable[..., WorkerProcess]]:
    workers: list[WorkerProcess] = []

    def make(url: str, *names: str, name: str = "test") -> WorkerProcess:
        workers.append(WorkerProcess(tmp_path, url, name, names))
        return workers[-1]

    yield make
    for worker in workers:
        if worker.process.poll() is None:
            worker.process.kill()
        worker.process.wait()
