"""No container outlives its builder, however the builder dies."""

import os
import secrets
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import docker
from buildfarm.errors import EnvironmentProblem
from buildfarm.sandbox.janitor import reap, start_janitor, sweep
from tests.waiting import wait_for

ROOT = Path(__file__).parents[2]

# A builder that starts its janitor, leaves a container and forks a child that lives on.
BUILDER = """
import os, sys, time
from pathlib import Path
from buildfarm.sandbox.janitor import start_janitor
start_janitor({host!r}, {instance!r}, Path({workdir!r}))
child = os.fork()
if child == 0:
    time.sleep(60)
print(child, flush=True)
time.sleep(60)
"""


def start_container(client, instance, image, attempt="1"):
    labels = {"buildfarm.instance": instance, "buildfarm.job": "j", "buildfarm.attempt": attempt}
    created = client.create_container(
        image, ["sleep", "60"], labels=labels, host_config=client.create_host_config(network_mode="none")
    )
    client.start(created["Id"])


@pytest.fixture
def instance():
    return f"pytest-{secrets.token_hex(4)}"


@pytest.fixture
def client(engine, instance):
    client = docker.APIClient(base_url=engine)
    yield client
    reap(engine, instance)
    client.close()


def left(client, instance):
    return client.containers(all=True, filters={"label": f"buildfarm.instance={instance}"})


@pytest.mark.engine
def test_a_killed_builder_s_containers_are_removed_though_its_fork_lives(
    engine, client, instance, images, tmp_path
):
    start_container(client, instance, images["test"])
    builder = subprocess.Popen(
        [sys.executable, "-c", BUILDER.format(host=engine, instance=instance, workdir=str(tmp_path))],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    fork = int(builder.stdout.readline())
    try:
        assert len(left(client, instance)) == 1
        builder.send_signal(signal.SIGKILL)
        builder.wait()
        deadline = time.monotonic() + 60
        while left(client, instance) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert left(client, instance) == []
        os.kill(fork, 0)  # it is still there, and holds the pipe
    finally:
        os.kill(fork, signal.SIGKILL)
        builder.stdout.close()


@pytest.mark.engine
def test_a_builder_that_goes_in_good_order_sends_its_janitor_home(engine, client, instance, images, tmp_path):
    start_container(client, instance, images["test"])
    janitor = start_janitor(engine, instance, tmp_path)
    janitor.stop()

    assert len(left(client, instance)) == 1
    assert not Path(f"/proc/{janitor.pid}").exists()


def test_a_builder_waits_until_the_janitor_of_its_earlier_life_has_ended(tmp_path):
    earlier = start_janitor(None, "builder", tmp_path)
    inode = tmp_path.stat().st_ino

    def waits() -> bool:
        held = Path("/proc/locks").read_text().splitlines()
        return any("-> FLOCK" in line and f":{inode} " in line for line in held)

    with ThreadPoolExecutor(1) as pool:
        now = pool.submit(start_janitor, None, "builder", tmp_path)
        wait_for(waits, "the later life to wait")
        assert not now.done()
        earlier.stop()
        now.result(60).stop()


def test_a_builder_without_a_folder_to_work_in_says_so(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(EnvironmentProblem) as told:
        start_janitor(None, "builder", tmp_path / "file" / "0")
    assert told.value.code == "builder.workdir"
    assert str(tmp_path) in told.value.message


@pytest.mark.engine
def test_what_an_earlier_life_left_is_removed_and_nothing_of_others(engine, client, instance, images):
    start_container(client, instance, images["test"])

    assert reap(engine, f"{instance}-other") == 0
    assert len(left(client, instance)) == 1
    assert reap(engine, instance) == 1


def test_directories_of_dead_attempts_are_swept_and_named(tmp_path):
    for name in ("job_a_1", "job_b_12", "other"):
        (tmp_path / name / "in").mkdir(parents=True)

    assert sorted(sweep(tmp_path)) == [("job_a", 1), ("job_b", 12)]
    assert [path.name for path in tmp_path.iterdir()] == ["other"]
    assert sweep(tmp_path / "absent") == []
