"""Twenty builds while everything is being killed, at random and all the time."""

import contextlib
import os
import random
import signal
import time

import pytest
import redis
import requests
from chaos_harness import ENDS, Eyes, Farm, children, horse_of

from tests.waiting import wait_for

pytestmark = [pytest.mark.system, pytest.mark.engine, pytest.mark.exhaustive, pytest.mark.timeout(600)]
BUILDS = 20
STORM_S = 60
HEAL_S = 150
VICTIMS = ("builder-0", "builder-1", "worker", "keeper", "web", "signer", "pages", "redis")


def strike(farm: Farm, dice: random.Random) -> str:
    """One wound, chosen by the dice; says which."""
    how = dice.choice(["kill", "kill", "horse", "horse", "flush", "stop", "gunicorn"])
    victim = dice.choice(VICTIMS)
    with contextlib.suppress(ProcessLookupError, AssertionError, redis.RedisError):
        if how == "flush":
            farm.redis().flushall()
            return "FLUSHALL"
        if how == "horse":
            victim = dice.choice(["builder-0", "builder-1", "worker"])
            pid = horse_of(farm.child(victim))
        else:
            pid = farm.child(victim)
        if how == "gunicorn":
            victim, pid = "web", dice.choice(children(farm.child("web")) or [0])
        if pid:
            os.kill(pid, signal.SIGTERM if how == "stop" else signal.SIGKILL)
    return f"{how} {victim}"


@pytest.mark.parametrize("seed", [1, 2])
def test_a_storm_loses_no_build_and_publishes_none_twice(make_farm, healed, seed):
    dice = random.Random(seed)  # noqa: S311 - chances of a test
    # Kills are what this is about: none may end a build by being one too many.
    farm = make_farm(builders=2, BUILDFARM_LIMITS__ATTEMPTS="100")
    farm.start()
    source, builds, struck = farm.connect(), [], []
    began = time.monotonic()
    with contextlib.ExitStack() as eyes:
        while time.monotonic() - began < STORM_S or len(builds) < BUILDS:
            if len(builds) < BUILDS:
                # Web may die with the request: whether it was heard is seen in the farm's own list.
                with contextlib.suppress(requests.RequestException):
                    builds.append(source.build(seconds=dice.choice([0, 0, 1, 2])))
                    if len(builds) % 5 == 0:
                        eyes.enter_context(Eyes(builds[-1]))
            struck.append(strike(farm, dice))
            time.sleep(dice.uniform(0.5, 2.5))
        calm = time.monotonic()
        for build in builds:
            while build.show()["state"] not in ENDS:
                assert time.monotonic() - calm < HEAL_S, (build.show(), struck)
                time.sleep(0.2)
        healed(f"storm {seed}, {len(struck)} wounds: all published", time.monotonic() - calm)
        for build in builds:
            build.published_once()
    versions = [row["facts"]["version"] for row in farm.journal("publish", source.repository.name)]
    assert len(versions) == len(set(versions)) >= BUILDS
    wait_for(lambda: not farm.containers(), "the last containers to go")
