"""Kills of what builds rely on: web, the signer, the page follower."""

import os
import signal
import time

import pytest
from chaos_harness import CLOCKS, Eyes, children, index_files, stopped

from tests.waiting import wait_for

pytestmark = [pytest.mark.system, pytest.mark.engine]


def test_the_log_has_no_gap_though_web_is_killed_in_the_middle(farm, healed):
    build = farm.connect().build(seconds=10)
    with Eyes(build):
        build.at_work()
        for pid in children(farm.child("web")):
            os.kill(pid, signal.SIGKILL)
        began = time.monotonic()
        lines = build.log(1).count("\n")
        wait_for(lambda: build.log(1).count("\n") > lines, "more lines")
        healed("both gunicorn workers killed: the log goes on", time.monotonic() - began)
        began = time.monotonic()
        web = farm.child("web")
        os.kill(web, signal.SIGKILL)
        wait_for(lambda: farm.child("web") != web, "another web process")
        build.show()
        healed("web killed: answers again", time.monotonic() - began)
        build.published_once(attempt=1)
    assert "line 99 of the work" in build.log(1)


def test_web_away_for_longer_than_the_lease_costs_no_attempt(farm, healed):
    """It hangs, and is killed at the end of that: builders could say nothing for one and a half leases."""
    build = farm.connect().build(seconds=8)
    with Eyes(build):
        build.at_work()
        web = farm.child("web")
        lease_s = float(CLOCKS["BUILDFARM_TIMING__LEASE_S"])
        with stopped(farm, web, *children(web)):
            time.sleep(1.5 * lease_s)
            began = time.monotonic()
            for pid in (*children(web), web):
                os.kill(pid, signal.SIGKILL)
        build.published_once(attempt=1)
        healed("web away for longer than the lease: published", time.monotonic() - began)


def test_idle_builders_are_seen_whether_web_was_away_or_not(farm):
    seen = lambda: farm.get("builders")["items"][0]["seen_at"] or ""  # noqa: E731
    before = seen()
    wait_for(lambda: seen() > before, "an idle builder to be seen")
    web = farm.child("web")
    os.kill(web, signal.SIGKILL)
    wait_for(lambda: farm.child("web") != web, "another web process")
    before = seen()
    wait_for(lambda: seen() > before, "an idle builder to be seen again")


def test_a_build_waits_for_the_signer_and_is_published(farm, healed):
    source = farm.connect()
    build = source.build()
    with Eyes(build):
        wait_for(lambda: build.show()["state"] in ("running", "built"), "the build to run")
        signer = farm.child("signer")
        with stopped(farm, signer):
            wait_for(lambda: build.show()["state"] == "built", "the build to be built", 120)
            assert index_files(farm, source.repository.name) == set()
            began = time.monotonic()
            os.kill(signer, signal.SIGKILL)
        build.published_once(attempt=1)
        healed("signer killed during publish: published", time.monotonic() - began)


def test_pages_catch_up_after_their_follower_was_killed(farm, healed):
    build = farm.connect().build()
    with Eyes(build):
        wait_for(lambda: build.show()["state"] in ("running", "built"), "the build to run")
        pages = farm.child("pages")
        with stopped(farm, pages):
            build.reaches("published")
            began = time.monotonic()
            os.kill(pages, signal.SIGKILL)
        build.published_once(attempt=1)
        healed("page follower killed: pages caught up", time.monotonic() - began)
