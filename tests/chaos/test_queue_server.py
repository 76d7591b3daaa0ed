"""Losing Redis, or what is in it: it may forget everything at any moment."""

import os
import signal
import time

import pytest
from chaos_harness import Eyes, stopped

from tests.waiting import wait_for

pytestmark = [pytest.mark.system, pytest.mark.engine]


@pytest.fixture(params=["killed", "flushed"])
def lose_queues(request, farm):
    """Take the queues away."""
    if request.param == "killed":
        return lambda: os.kill(farm.child("redis"), signal.SIGKILL)
    return lambda: farm.redis().flushall()


def test_builds_outlive_the_loss_of_the_queues_and_it_uses_up_no_attempt(farm, lose_queues, healed, request):
    source = farm.connect()
    running = [source.build(seconds=25), source.build(seconds=25)]  # they hold both builders meanwhile
    for build in running:
        build.at_work()
    queued = [source.build(), source.build()]
    for build in queued:
        assert build.job["state"] == "queued"
    with Eyes(running[0]), Eyes(queued[0]):
        began = time.monotonic()
        lose_queues()
        for build in running + queued:
            build.published_once(attempt=1)
        healed(
            f"{request.node.callspec.params['lose_queues']} Redis: 4 builds published",
            time.monotonic() - began,
        )


def test_a_cancelled_build_ends_at_once_and_its_container_with_it(farm, healed):
    build = farm.connect().build(seconds=60)
    job = build.at_work()
    began = time.monotonic()
    farm.api("POST", f"builds/{build.id}/cancel")
    build.reaches("cancelled", 30)
    healed("cancelled: state", time.monotonic() - began)
    wait_for(lambda: not farm.containers(job["id"]), "the container to go", 20)
    healed("cancelled: container gone", time.monotonic() - began)
    assert "cancelled" in build.log(1).splitlines()[-1]


@pytest.mark.parametrize("how", ["hangs", "forgot"])
def test_a_cancelled_build_ends_though_the_stop_command_is_lost(farm, healed, how):
    build = farm.connect().build(seconds=60)
    job = build.at_work()
    began = time.monotonic()
    if how == "hangs":
        with stopped(farm, farm.child("redis")):
            farm.api("POST", f"builds/{build.id}/cancel")
            build.reaches("cancelled", 30)
            wait_for(lambda: not farm.containers(job["id"]), "the container to go", 20)
    else:
        farm.redis().flushall()
        farm.api("POST", f"builds/{build.id}/cancel")
        build.reaches("cancelled", 30)
        wait_for(lambda: not farm.containers(job["id"]), "the container to go", 20)
    healed(f"cancelled while Redis {how}: container gone", time.monotonic() - began)
    farm.connect().build().published_once(attempt=1)


def test_a_build_cancelled_in_the_queue_never_runs(farm):
    source = farm.connect()
    running = [source.build(seconds=25), source.build(seconds=25)]  # they hold both builders meanwhile
    for build in running:
        build.at_work()
    waiting = source.build()
    assert waiting.job["state"] == "queued"
    farm.api("POST", f"builds/{waiting.id}/cancel")
    waiting.reaches("cancelled", 30)
    for build in running:
        build.published_once(attempt=1)
    assert waiting.log(1) == ""
    assert not farm.journal("publish", source.repository.name)[2:]
