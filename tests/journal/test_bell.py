"""The bell: who hears it and when; whoever rings one that nobody hears loses no time."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from buildfarm.db.engine import Database
from buildfarm.journal.bell import Bell, Listener
from buildfarm.journal.record import append_recorded, record

#: Nobody who is told at once takes so long, seconds; whoever is not waits for ever so much longer.
SOON, LONG = 10.0, 60.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "journal.bell"


@pytest.fixture
def listener(path: Path) -> Iterator[Listener]:
    made = Listener(path)
    yield made
    made.close()


def seconds(act) -> float:
    began = time.monotonic()
    act()
    return time.monotonic() - began


def test_a_ring_wakes_the_listener_once_for_all_who_rang(path, listener) -> None:
    for _ in range(50):  # more than a socket holds: none blocks
        Bell(path).ring()
    assert seconds(lambda: listener.wait(LONG)) < SOON
    assert 0.09 < seconds(lambda: listener.wait(0.1)) < SOON


def test_whoever_asks_is_told_once_the_serial_is_shown(path, listener) -> None:
    asker = threading.Thread(target=Bell(path).await_shown, args=(7, LONG), daemon=True)
    asker.start()
    listener.wait(LONG)
    listener.tell(6)
    asker.join(0.1)
    assert asker.is_alive()
    listener.tell(8)
    asker.join(SOON)
    assert not asker.is_alive()


def test_an_asker_who_is_gone_harms_nobody(path, listener) -> None:
    Bell(path).await_shown(7, 0.01)
    asker = threading.Thread(target=Bell(path).await_shown, args=(7, LONG), daemon=True)
    asker.start()
    while asker.is_alive():
        listener.wait(0.01)
        listener.tell(7)


def test_nobody_waits_where_nobody_listens(path) -> None:
    assert seconds(lambda: Bell(path).await_shown(1, LONG)) < SOON
    Listener(path).close()  # a follower that was killed leaves its socket
    bell = Bell(path)
    assert seconds(lambda: bell.await_shown(1, LONG)) < SOON
    bell.ring()
    successor = Listener(path)
    bell.ring()
    assert seconds(lambda: successor.wait(LONG)) < SOON
    successor.close()


def test_a_bell_hangs_in_a_folder_of_any_depth(tmp_path) -> None:
    deep = tmp_path.joinpath(*["deep" * 10] * 4, "journal.bell")
    listener = Listener(deep)
    Bell(deep).ring()
    assert seconds(lambda: listener.wait(LONG)) < SOON
    listener.close()


def test_a_transaction_rings_when_it_has_written_to_the_journal(path, listener, sqlite_url) -> None:
    bell = Bell(path)
    database = Database(sqlite_url, before_commit=append_recorded, after_commit=bell.ring_for)
    with database.begin():
        pass
    with contextlib.suppress(RuntimeError), database.begin() as session:
        record(session, "test")
        raise RuntimeError
    assert seconds(lambda: listener.wait(0.1)) > 0.09
    with database.begin() as session:
        record(session, "test")
    assert seconds(lambda: listener.wait(LONG)) < SOON
    database.close()
