"""Writers wait until their change is visible on every live node, told by the bell or by looking."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest

from buildfarm import clock
from buildfarm.index.model import Follower
from buildfarm.index.visible import Visibility
from buildfarm.journal.bell import Listener
from buildfarm.journal.record import record
from tests.conftest import ROOT, environment
from tests.waiting import wait_for


def write(house) -> int:
    """The serial of a new row."""
    with house.database.begin() as session:
        record(session, "test")
    return int(session.info["serial"])


def patient(house, seconds: float) -> Visibility:
    return Visibility(house.database, house.farm.bell, seconds)


def node(house, name: str, serial: int, *, seen: timedelta = timedelta()) -> None:
    with house.database.begin() as session:
        session.merge(Follower(node=name, serial=serial, seen_at=clock.now() - seen))


def test_a_writer_waits_until_this_node_shows_its_change(house) -> None:
    house.follower.catch_up()
    node(house, "dead", 0, seen=timedelta(minutes=5))
    serial = write(house)
    assert not patient(house, 0.1).wait(serial)
    timer = threading.Timer(0.2, house.follower.catch_up)
    timer.start()
    started = time.monotonic()
    assert patient(house, 60).wait(serial)
    assert time.monotonic() - started < 30
    timer.join()
    assert house.farm.visibility.is_current(house.farm.settings.node)


def test_a_writer_waits_for_nodes_of_other_hosts_whatever_the_bell_says(house) -> None:
    listener = Listener(house.farm.settings.bell)
    over = threading.Event()

    def serve() -> None:
        while not over.is_set():
            listener.tell(house.follower.catch_up())
            listener.wait(0.1)

    serving = threading.Thread(target=serve, daemon=True)
    serving.start()
    node(house, "far", 0)
    serial = write(house)
    assert not patient(house, 0.3).wait(serial)
    timer = threading.Timer(0.2, node, (house, "far", serial))
    timer.start()
    assert patient(house, 60).wait(serial)
    over.set()
    for thread in (serving, timer):
        thread.join()
    listener.close()


def test_a_bell_that_rings_falsely_shows_nothing(house) -> None:
    house.follower.catch_up()
    listener = Listener(house.farm.settings.bell)
    over = threading.Event()

    def lie() -> None:
        while not over.is_set():
            listener.wait(0.05)
            listener.tell(10**6)

    lying = threading.Thread(target=lie, daemon=True)
    lying.start()
    assert not patient(house, 0.3).wait(write(house))
    over.set()
    lying.join()
    listener.close()


@pytest.fixture
def follow(tmp_path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts the page follower's process."""
    running = []

    def start(house, look_s: float = 1.0) -> subprocess.Popen[bytes]:
        code = (
            f"import sys; from webapp import follower; follower._LOOK_S = {look_s}; sys.exit(follower.main())"
        )
        argv = [sys.executable, "-c", code]
        env = environment(house.farm.settings, tmp_path)
        running.append(subprocess.Popen(argv, env=env, cwd=ROOT, stderr=subprocess.DEVNULL))
        return running[-1]

    yield start
    for process in running:
        process.kill()
        process.wait(20)


def test_a_follower_hears_of_changes_through_kill_and_restart(house, follow) -> None:
    first = follow(house, look_s=60.0)
    wait_for(lambda: house.tree.serial >= 0)
    took = []
    for _ in range(21):
        began = time.monotonic()
        assert patient(house, 60).wait(write(house))
        took.append(time.monotonic() - began)
    assert max(took) < 30, "it looks by itself every minute"
    os.kill(first.pid, signal.SIGKILL)
    first.wait(20)
    serial = write(house)
    assert not patient(house, 0.2).wait(serial)
    second = follow(house)
    assert patient(house, 60).wait(serial)
    second.terminate()
    assert second.wait(60) == 0


def test_a_follower_that_hears_no_bell_looks_by_itself(house, follow) -> None:
    follow(house)
    wait_for(lambda: house.tree.serial >= 0)
    house.farm.settings.bell.unlink()
    assert patient(house, 60).wait(write(house))
