"""Many ask for the same at once: one decision, one rendering, and never one that was overtaken."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import event

from buildfarm.errors import Forbidden
from buildfarm.index import channels, guarded
from buildfarm.mirror.policy import parse
from buildfarm.shared import Shared
from tests.conftest import open_farm, wait_for, wheel
from tests.postgresql import PostgresCluster

WHEEL, BYTES = wheel("gadget", "1.0")


class Gate:
    """Work that waits to be let on; `begun` counts its calls."""

    def __init__(self) -> None:
        self.begun = 0
        self.open = threading.Event()

    def work(self) -> int:
        self.begun += 1
        assert self.open.wait(60)
        return self.begun


@pytest.fixture
def mirrored(open_house, upstream):
    house = open_house(mirror={"upstreams": [upstream.url], "timeout_s": 60})
    with house.database.begin() as session:
        channels.create_mirror(session)
    upstream.page("gadget", {"filename": WHEEL, "url": f"../../files/{WHEEL}", "size": len(BYTES)})
    house.follower.catch_up()
    return house


def test_who_comes_while_it_is_done_waits_and_who_comes_later_has_it_done_anew(monkeypatch) -> None:
    shared, gate = Shared[int](), Gate()
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(shared.do, "one", gate.work)
        wait_for(lambda: gate.begun == 1)
        joined: list[object] = []
        result = Future.result
        monkeypatch.setattr(Future, "result", lambda self, *a: joined.append(self) or result(self, *a))
        others = [pool.submit(shared.do, "one", gate.work) for _ in range(2)]
        wait_for(lambda: len(joined) == 2)
        assert shared.do("two", lambda: 7) == 7
        gate.open.set()
        assert [one.result() for one in (first, *others)] == [1, 1, 1]
    assert shared.do("one", gate.work) == 2


def test_a_failure_is_everybodys_and_nobodys_afterwards() -> None:
    shared, gate = Shared[int](), threading.Event()

    def fail() -> int:
        gate.wait(60)
        raise ValueError("no")

    with ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(shared.do, "one", fail) for _ in range(2)]
        gate.set()
        for one in asked:
            with pytest.raises(ValueError, match="no"):
                one.result()
    assert shared.do("one", lambda: 3) == 3


@pytest.mark.parametrize("what", ["page", "file"])
def test_many_at_once_have_it_decided_once(mirrored, monkeypatch, what: str) -> None:
    mirrored.farm.mirrored.page("mirror", "gadget")
    gate, sift = Gate(), mirrored.farm.guard.sift

    def slow(*arguments, **more):
        gate.work()
        return sift(*arguments, **more)

    monkeypatch.setattr(type(mirrored.farm.guard), "sift", lambda _self, *a, **k: slow(*a, **k))
    path = ("mirror", "gadget") if what == "page" else ("mirror", "gadget", WHEEL)
    ask = getattr(mirrored.farm.mirrored, what)
    barrier = threading.Barrier(21)
    joined: list[object] = []
    result = Future.result
    monkeypatch.setattr(Future, "result", lambda self, *a: joined.append(self) or result(self, *a))

    def one() -> object:
        barrier.wait(60)
        return ask(*path)

    with ThreadPoolExecutor(20) as pool:
        asked = [pool.submit(one) for _ in range(20)]
        barrier.wait(60)
        wait_for(lambda: gate.begun == 1 and len(joined) == 19)
        gate.open.set()
    assert len({str(each.result()) for each in asked}) == 1
    assert gate.begun == 1


def test_a_decision_that_a_policy_overtook_is_made_anew(mirrored, monkeypatch) -> None:
    mirrored.farm.mirrored.page("mirror", "gadget")
    gate, sift = Gate(), mirrored.farm.guard.sift

    def late(_self, *arguments, **more):
        found = sift(*arguments, **more)  # under the old policy
        gate.work()
        return found

    monkeypatch.setattr(type(mirrored.farm.guard), "sift", late)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(mirrored.farm.mirrored.file, "mirror", "gadget", WHEEL)
        wait_for(lambda: gate.begun == 1)
        with mirrored.database.begin() as session:
            guarded.set_policy(session, "mirror", parse('deny = ["gadget"]'), actor="ann")
        gate.open.set()
        with pytest.raises(Forbidden):
            asked.result()


def test_two_processes_that_make_a_page_for_the_first_time_agree_on_its_serial(
    postgres: PostgresCluster, tmp_path: Path
) -> None:
    postgres.empty("farm")
    house = open_farm(postgres.url("farm"), tmp_path)
    overtaken: list[int] = []

    def other_is_faster(*_args: object) -> None:
        if not overtaken:
            overtaken.append(0)
            overtaken[0] = ask()

    def ask() -> int:
        return house.farm.mirrored._serial("mirror", "gadget", b"the page", None)

    event.listen(house.database._write_session, "before_flush", other_is_faster)
    assert (ask(), overtaken) == (1, [1])
    house.database.close()
