"""Another builder host, joined by one command and a token: it builds; another goes on when it is lost."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from chaos_harness import BUILDFARM, Build, Farm, everyones_containers
from chaos_relay import Relay

from tests.ports import free_port
from tests.waiting import wait_for

pytestmark = [pytest.mark.system, pytest.mark.engine]


@pytest.fixture
def farm(make_farm: Callable[..., Farm]) -> Farm:
    """A farm with one builder of its own, whose queue server has a port for others."""
    farm = make_farm(options=("--queue-port", str(free_port())))
    farm.start()
    return farm


@pytest.fixture
def line(farm: Farm) -> Iterator[Relay]:
    """The network between the second host and the farm's web."""
    relay = Relay(free_port(), lambda: socket.create_connection(("127.0.0.1", farm.port)))
    yield relay
    relay.cut()


@pytest.fixture
def second(farm: Farm, line: Relay, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A builder that was started by the line that adding it shows."""
    made = farm.api("POST", "builders", json={"name": "second", "tiers": ["dev"]})
    command = made["command"].replace(f":{farm.port}", f":{line.port}").split()[1:]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("BUILDFARM_")}
    with (tmp_path / "second.log").open("wb") as out:
        process = subprocess.Popen(
            [str(BUILDFARM), *command, "--slots", "1", "--data", str(tmp_path / "second")],
            env=environment, stdout=out, stderr=out,
        )  # fmt: skip
    try:
        wait_for(lambda: _state(farm, "second") == "takes work", "the second builder")
        yield process
    finally:
        process.terminate()
        process.wait(60)


def test_a_second_host_builds_along_and_what_dies_with_it_is_built_on_the_first(farm, second) -> None:
    source = farm.connect()
    farm.api("PUT", "builders/local/drain", json={})
    build = source.build()
    build.published_once(attempt=1)
    assert _builders(farm, build) == ["second"]
    build = source.build(seconds=8)
    build.at_work()
    farm.api("DELETE", "builders/local/drain")
    os.kill(second.pid, signal.SIGKILL)
    build.published_once(attempt=2, seconds=90)
    assert _builders(farm, build) == ["second", "local"]
    wait_for(lambda: _state(farm, "second") == "not heard of", "the second builder to be missed")


@pytest.mark.exhaustive
def test_a_host_that_is_cut_off_in_the_middle_of_a_build_publishes_nothing_late(farm, second, line) -> None:
    source = farm.connect()
    farm.api("PUT", "builders/local/drain", json={})
    build = source.build(seconds=8)
    build.at_work()
    line.cut()
    farm.api("DELETE", "builders/local/drain")
    build.published_once(attempt=2, seconds=90)
    assert _builders(farm, build) == ["second", "local"]
    line.mend()
    wait_for(lambda: _state(farm, "second") == "takes work", "the second host to be back", 60)
    wait_for(lambda: not everyones_containers(build.job["id"]), "what it had begun to be gone", 60)
    build.published_once(attempt=2)
    farm.api("PUT", "builders/local/drain", json={})
    source.build().published_once(attempt=1)


def _state(farm: Farm, name: str) -> str:
    return str(next(one["state"] for one in farm.get("builders")["items"] if one["name"] == name))


def _builders(farm: Farm, build: Build) -> list[str]:
    """Who tried the build's one job, in turn."""
    (job,) = build.show()["jobs"]
    return [attempt["builder"] for attempt in farm.get(f"jobs/{job['id']}")["attempts"]]
