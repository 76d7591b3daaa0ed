"""Kills of builders, their horses, control workers and keepers, in the middle of builds."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time

import pytest
from chaos_harness import Eyes, alive, killed, stopped

from tests.waiting import wait_for

pytestmark = [pytest.mark.system, pytest.mark.engine]


def test_a_killed_builder_takes_its_horse_and_container_along_and_the_build_is_tried_again(farm, healed):
    build = farm.connect().build(seconds=8)
    with Eyes(build):
        job = build.at_work()
        name = farm.busy_builder()
        horse = farm.horse(name)
        assert (job["id"], 1) in farm.containers()
        began = time.monotonic()
        os.kill(farm.child(name), signal.SIGKILL)
        wait_for(lambda: not alive(horse), "the horse to die with its parent", 10)
        wait_for(lambda: (job["id"], 1) not in farm.containers(), "its container to go", 30)
        healed("builder killed: container gone", time.monotonic() - began)
        build.at_work(attempt=2)
        healed("builder killed: attempt 2 at work", time.monotonic() - began)
        build.published_once(attempt=2)


def test_a_killed_horse_leaves_no_container_and_the_build_is_tried_again(farm, healed):
    build = farm.connect().build(seconds=8)
    with Eyes(build):
        job = build.at_work()
        began = time.monotonic()
        os.kill(farm.horse(farm.busy_builder()), signal.SIGKILL)
        wait_for(lambda: (job["id"], 1) not in farm.containers(), "its container to go", 30)
        healed("horse killed: container gone", time.monotonic() - began)
        build.at_work(attempt=2)
        healed("horse killed: attempt 2 at work", time.monotonic() - began)
        build.published_once(attempt=2)


def test_builders_told_to_stop_while_builds_arrive_lose_none_and_use_up_no_attempt(farm, healed):
    source, dice, builds = farm.connect(), random.Random(7), []  # noqa: S311 - chances of a test
    for slot in (0, 1, 0):
        builder = farm.child(f"builder-{slot}")
        builds.append(source.build())
        time.sleep(dice.uniform(0, 0.4))  # the moment of the stop is what varies, nothing waits for it
        os.kill(builder, signal.SIGTERM)
        builds.append(source.build())
        began = time.monotonic()
        wait_for(lambda builder=builder: not alive(builder), "the builder to end", 60)
        healed("builder told to stop: ended", time.monotonic() - began)
    for build in builds:
        build.published_once(attempt=1)


def test_a_killed_horse_of_control_work_is_followed_by_another_at_once(farm, healed):
    build = farm.connect().build()
    began = time.monotonic()
    wait_for(lambda: killed(farm.horse("worker")), "a horse to be killed")
    build.published_once(attempt=1)
    healed("control horse killed: published", time.monotonic() - began)


def test_a_control_worker_killed_between_attest_and_publish_leaves_one_release_and_the_same_bundle(
    farm, healed
):
    source = farm.connect()
    project, signer = source.repository.name, farm.child("signer")
    attested = "SELECT filename, answer FROM attestation WHERE filename LIKE ? ORDER BY filename"
    build = source.build()

    def has_attested() -> bool:
        # The signer goes on for moments only: nothing is published between two looks.
        os.kill(signer, signal.SIGCONT)
        time.sleep(0.01)
        os.kill(signer, signal.SIGSTOP)
        time.sleep(0.05)
        return bool(farm.sql(attested, f"{project}-%")) and farm.can_be_written_to()

    with Eyes(build):
        with stopped(farm, signer):
            wait_for(has_attested, "the first statement", 120)
            assert not farm.journal("publish", project), "the signer was stopped too late"
            began = time.monotonic()
            before = farm.sql(attested, f"{project}-%")
            os.kill(farm.child("worker"), signal.SIGKILL)
        build.published_once(attempt=1)
        healed("control worker killed between attest and publish: published", time.monotonic() - began)
    after = farm.sql(attested, f"{project}-%")
    assert set(before) <= set(after)
    assert (
        len(after)
        == len(farm.sql("SELECT serial FROM attestation WHERE filename LIKE ?", f"{project}-%"))
        == 2
    )
    leaves = [row for row in farm.journal("attest") if row["facts"]["filename"].startswith(f"{project}-")]
    assert len(leaves) == 2


def test_of_two_keepers_one_works_and_the_other_takes_over(farm, healed):
    environment = {
        **os.environ,
        "BUILDFARM_CONFIG": str(farm.data / "run" / "settings.json"),
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }

    def holder() -> int:
        rows = farm.sql("SELECT holder FROM lease WHERE name = 'keeper'")
        return int(rows[0][0].rpartition(".")[2]) if rows else 0  # released a moment ago

    first = farm.child("keeper")
    wait_for(lambda: holder() == first, "the first keeper to take its place", 30)
    second = subprocess.Popen(
        [sys.executable, "-m", "workers.keeper"], env=environment, stderr=subprocess.DEVNULL
    )
    try:
        source = farm.connect()
        builds = [source.build() for _ in range(3)]
        farm.redis().flushall()
        assert holder() == first
        began = time.monotonic()
        with stopped(farm, first):  # a killed one would be started again and could take its own place
            wait_for(lambda: holder() == second.pid, "the other keeper to take over", 30)
            healed("keeper hangs: the other works", time.monotonic() - began)
            farm.redis().flushall()
            for build in builds:
                build.published_once(attempt=1)
            healed("keeper hangs, queues flushed: all published", time.monotonic() - began)
        os.kill(first, signal.SIGKILL)
        wait_for(lambda: farm.child("keeper") != first, "the keeper to be started again", 30)
        assert holder() == second.pid
        second.send_signal(signal.SIGTERM)
        assert second.wait(30) == 0
        wait_for(lambda: holder() == farm.child("keeper"), "the first place to be taken again", 30)
    finally:
        with contextlib.suppress(ProcessLookupError):
            second.kill()
        second.wait()
