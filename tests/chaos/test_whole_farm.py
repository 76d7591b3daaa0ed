"""The parent of all: killed, stopped, started twice, started where it cannot work."""

import json
import os
import signal
import socket
import sqlite3
import subprocess
import time
from pathlib import Path

import pytest
from chaos_harness import BUILDFARM, CLOCKS, Eyes, Farm, everyones_containers, listens, nothing_left
from chaos_relay import Relay

import docker
from tests.ports import free_port
from tests.waiting import wait_for

#: Three on a quiet machine.
STOP_S = 20
#: With these a lease or a heartbeat heals nothing in the time of a test: something quicker must.
PATIENT = {"BUILDFARM_TIMING__LEASE_S": "300", "BUILDFARM_TIMING__HEARTBEAT_S": "100"}
pytestmark = [pytest.mark.system, pytest.mark.engine]


def refused(*arguments: object) -> str:
    """What `buildfarm up` says when it does not start; one sentence, and perhaps a hint."""
    done = subprocess.run(
        [BUILDFARM, "up", *map(str, arguments)],
        env={**os.environ, **CLOCKS},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    said = [line for line in done.stderr.splitlines() if line and not line.startswith("{")]
    assert 1 <= len(said) <= 2, done.stderr
    return said[0]


def stopped(farm: Farm, number: int = signal.SIGTERM) -> float:
    """End it in good order; the seconds that took, none of them in vain."""
    code, seconds = farm.stop(number)
    assert code == 0
    assert seconds < STOP_S
    told = [json.loads(line) for line in (farm.folder / "up.log").read_text().splitlines() if line[:1] == "{"]
    killed = {line["child"] for line in told if line["event"] == "child.killed"}
    assert not killed & {"redis", "signer", "pages", "keeper"}  # what waits for nothing but its signal
    return seconds


def test_a_killed_farm_leaves_nothing_and_goes_on_where_it_was(make_farm, healed):
    # Deep enough that no socket of it would fit into an address (unix(7): 107 bytes).
    farm = make_farm("deep/" + "/".join(["a-folder-with-a-long-name"] * 7), **PATIENT)
    assert len(str(farm.data)) > 200
    healed("up: first start", farm.start())
    build = farm.connect().build(seconds=8)
    build.at_work()
    seen = build.log(1)
    pids = farm.everything()
    assert len(pids) >= 10
    farm.kill()
    healed("up killed: nothing left", nothing_left(farm, pids))
    began = time.monotonic()
    farm.start()
    healed("up killed: started again", time.monotonic() - began)
    with Eyes(build):
        build.published_once(attempt=2)
    healed("up killed: build published after the new start", time.monotonic() - began)
    assert build.log(1).startswith(seen)
    healed("up: stopped, idle", stopped(farm))
    nothing_left(farm, pids)


def test_a_farm_stops_in_seconds_whatever_it_does_and_only_one_runs_at_a_time(make_farm, healed, tmp_path):
    farm = make_farm(**PATIENT)
    farm.start()
    assert "Another farm runs in" in refused("--data", farm.data, "--port", free_port())
    assert f"Port {farm.port} is taken" in refused("--data", tmp_path / "other", "--port", farm.port)
    build = farm.connect().build(seconds=60)
    build.at_work()
    pids = farm.everything()
    healed("up: stopped, a build at work", stopped(farm, signal.SIGINT))
    healed("up: stopped, nothing left after", nothing_left(farm, pids))
    assert not (farm.folder / "ready.json").exists()
    began = time.monotonic()
    farm.start()
    build.at_work(attempt=2)
    healed("up: started again, the build at work", time.monotonic() - began)
    farm.api("POST", f"builds/{build.id}/cancel")
    build.reaches("cancelled", 30)
    farm.stop()
    with sqlite3.connect(farm.data / "farm.db") as database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
    assert "9999" in refused("--data", farm.data, "--port", farm.port)
    assert not listens(farm.port)


def test_a_folder_that_is_not_writable_is_refused(tmp_path):
    tmp_path.chmod(0o555)
    # Root may write everywhere but where the kernel has no folders to make.
    closed = Path("/sys") if os.geteuid() == 0 else tmp_path
    assert "not writable" in refused("--data", closed / "data", "--port", free_port())


@pytest.fixture
def switchable_engine(engine, tmp_path_factory):
    """The engine behind a name that can be taken away; short, for it is a socket's address."""
    link = tmp_path_factory.mktemp("e") / "d"
    real = engine.removeprefix("unix://")
    if not engine.startswith("unix://"):
        pytest.fail("this test needs an engine on a unix socket")

    class Switch:
        host = f"unix://{link}"

        def on(self) -> None:
            link.symlink_to(real)

        def off(self) -> None:
            link.unlink()

    with socket.socket(socket.AF_UNIX):
        assert len(str(link)) < 100
    return Switch()


def test_without_an_engine_builds_wait_and_run_once_when_it_is_there(make_farm, switchable_engine, healed):
    farm = make_farm(DOCKER_HOST=switchable_engine.host)
    farm.start()
    source = farm.connect()
    early = source.build().reaches("failed")
    assert early["cause"] == "infrastructure"
    assert "image" in early["first_error"]
    assert "docker/build-images.sh" in early["first_error"]

    switchable_engine.on()
    added = subprocess.run(
        [BUILDFARM, "image", "add"],
        env={
            **os.environ,
            "DOCKER_HOST": switchable_engine.host,
            "BUILDFARM_URL": farm.url,
            "BUILDFARM_TOKEN": farm.token,
        },
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert added.returncode == 0, added.stderr
    source.build().published_once(attempt=1)

    switchable_engine.off()
    waiting = source.build()
    wait_for(lambda: waiting.job["state"] == "queued", "the build to wait")
    farm.stop()
    farm.start()
    time.sleep(1)  # long enough for a builder that does not wait to fail it
    assert waiting.show()["state"] == "queued"
    switchable_engine.on()
    began = time.monotonic()
    waiting.published_once(attempt=1)
    healed("engine back: the waiting build published", time.monotonic() - began)


@pytest.mark.exhaustive
def test_an_engine_that_restarts_in_the_middle_of_a_build_costs_an_attempt_and_leaves_nothing(
    make_farm, engine, tmp_path_factory, healed
):
    """It takes its connections and containers along, and is away for a while."""

    def reach() -> socket.socket:
        far = socket.socket(socket.AF_UNIX)
        far.connect(engine.removeprefix("unix://"))
        return far

    line = Relay(tmp_path_factory.mktemp("e") / "d", reach)
    farm = make_farm(DOCKER_HOST=f"unix://{line.path}")
    farm.start()
    build = farm.connect().build(seconds=8)
    job = build.at_work()["id"]
    client = docker.APIClient(base_url=engine)
    try:
        line.cut()
        for container in everyones_containers(job):
            client.kill(container)
    finally:
        client.close()
    wait_for(lambda: build.job["state"] == "queued" and build.job["attempt"] == 2, "the first attempt's end")
    began = time.monotonic()
    line.mend()
    build.published_once(attempt=2, seconds=120)
    healed("engine restarted in the middle of a build: published", time.monotonic() - began)
    (first, _second) = farm.get(f"jobs/{job}")["attempts"]
    assert (first["cause"], first["failure_class"]) == ("infrastructure", "engine")
    wait_for(lambda: not everyones_containers(job), "what the engine had kept to be gone")
    line.cut()
