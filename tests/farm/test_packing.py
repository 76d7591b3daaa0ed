"""Jobs packed by memory: what runs on a host never needs more than it has, and every job runs some day."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest

from buildfarm import clock
from buildfarm.farm import learned, packing, registry
from buildfarm.farm.handover import hand_over_waiting
from buildfarm.farm.model import Builder, Job
from buildfarm.farm.rules import State
from buildfarm.farm.waiting import obstacles_of, waits_of
from tests.farm.test_dispatch import PREFIX, TARGETS, limited, posted
from tests.farm.test_handover import Queues

GIB = 1 << 30


@dataclass
class Line(Queues):
    """A queue in its order."""

    waiting: list[tuple[str, int, int]] = field(default_factory=list)

    def hand_over(
        self,
        queue: str,
        function: str,
        work_id: str,
        attempt: int,
        number: int,
        *,
        first: bool = False,
        **more: int,
    ) -> None:
        if work_id.startswith("job") and (work_id, attempt, number) not in self.waiting:
            self.waiting.insert(0 if first else len(self.waiting), (work_id, attempt, number))


class Farm:
    """Builders that pop, claim and end jobs over HTTP, and what a keeper does beside them."""

    def __init__(self, house) -> None:
        self.house, self.line = house, Line()
        self.tokens: dict[str, str] = {}
        self.hosts: dict[str, tuple[int, int]] = {}
        self.running: dict[str, tuple[str, str]] = {}
        vars(house.farm)["queues"] = self.line

    def join(self, name: str, memory: int | None, slots: int) -> None:
        with self.house.database.begin() as session:
            self.tokens[name] = registry.add_builder(session, name, ["dev"], actor="test")[1]
        self.hosts[name] = memory, slots
        self.takes(name)

    def takes(self, name: str) -> bool:
        memory, slots = self.hosts[name]
        report = {"queues": [f"{PREFIX}.interactive"], "slots": slots, "memory_bytes": memory, "findings": []}
        return posted(self.house, self.tokens[name], "builder/seen", report).json["take"]

    def queue(self, source: str, *needs: int | None) -> list[str]:
        made = list(self.house.build(source, *(f"target{n}" for n in range(len(needs))))[1].values())
        with self.house.database.begin() as session:
            for job_id, need in zip(made, needs, strict=True):
                session.get_one(Job, job_id).memory_need = need
        self.tend()
        return made

    def tend(self) -> None:
        with self.house.database.begin() as session:
            packing.reconsider(session, self.house.farm.settings)
        hand_over_waiting(self.house.database, self.line)

    def has_slot(self, name: str) -> bool:
        return sum(one == name for one, _ in self.running.values()) < self.hosts[name][1]

    def pop(self, name: str) -> str | None:
        """What the builder takes of the queue now, if it may have it."""
        job_id, attempt, _ = self.line.waiting.pop(0)
        answer = posted(self.house, self.tokens[name], "claim", {"job": job_id, "attempt": attempt})
        if answer.status_code == 200:
            self.running[job_id] = name, answer.json["token"]
        else:
            assert answer.json["code"] == "builder.memory"
        answer.close()
        return job_id if answer.status_code == 200 else None

    def end(self, job_id: str) -> None:
        _, token = self.running.pop(job_id)
        posted(self.house, token, "attempt/finish", {"state": "succeeded"}).close()

    def why(self, job_id: str) -> str:
        with self.house.database.read() as session:
            build_id = session.get_one(Job, job_id).build_id
            sentence = waits_of(session, build_id, self.house.farm.settings)[job_id].sentence
            assert obstacles_of(session, [build_id], self.house.farm.settings) == {build_id: sentence}
            return sentence


@pytest.fixture
def farm(each_house) -> Farm:
    return Farm(each_house)


def test_what_does_not_fit_waits_until_an_attempt_of_the_host_ends(farm: Farm) -> None:
    farm.join("one", 8 * GIB, 4)
    first, second, third, fourth = farm.queue(farm.house.source(), 3 * GIB, 4 * GIB, 3 * GIB, GIB)
    assert [farm.pop("one"), farm.pop("one"), farm.pop("one")] == [first, second, None]
    assert farm.why(third) == (
        "It needs 3.0 GiB of memory; one keeps room for it, and has 1.0 GiB of 8.0 GiB free."
    )
    assert not farm.takes("one")  # the small one behind it has to wait, or the large one would for ever
    assert farm.pop("one") is None
    farm.tend()
    assert farm.line.waiting == [(fourth, 1, 2)]
    farm.end(first)
    assert farm.takes("one")
    assert [farm.pop("one"), farm.pop("one")] == [third, fourth]


def test_another_host_that_has_room_takes_it(farm: Farm) -> None:
    farm.join("one", 4 * GIB, 2), farm.join("two", 8 * GIB, 2)
    first, second = farm.queue(farm.house.source(), 3 * GIB, 3 * GIB)
    assert [farm.pop("one"), farm.pop("one")] == [first, None]
    assert farm.takes("one")
    assert farm.pop("two") == second


def test_what_fits_on_no_host_runs_alone_on_the_largest(farm: Farm) -> None:
    farm.join("one", 4 * GIB, 2), farm.join("two", 8 * GIB, 2)
    small, huge, last = farm.queue(farm.house.source(), GIB, 20 * GIB, GIB)
    assert [farm.pop("two"), farm.pop("one"), farm.pop("one")] == [small, None, last]
    farm.end(small)
    assert farm.pop("two") == huge
    (more,) = farm.queue(farm.house.source("other", projects=()), GIB)
    assert farm.pop("two") is None
    assert farm.pop("one") == more


def test_of_two_that_wait_for_a_host_the_earlier_goes_first_though_the_later_would_fit(farm: Farm) -> None:
    farm.join("small", 4 * GIB, 2), farm.join("large", 8 * GIB, 3)
    made = farm.queue(farm.house.source(), 3 * GIB, 2 * GIB, 6 * GIB, 5 * GIB)
    assert [farm.pop("large"), farm.pop("large")] == made[:2]
    assert [farm.pop("small"), farm.pop("small")] == [None, None]
    farm.end(made[1])
    assert (farm.line.waiting, farm.takes("large")) == ([], False)
    farm.end(made[0])
    assert farm.pop("large") == made[2]


def test_room_is_kept_where_nothing_is_emulated(farm: Farm) -> None:
    farm.join("one", 4 * GIB, 2), farm.join("two", 64 * GIB, 2)
    first, second = farm.queue(farm.house.source(), 3 * GIB, 3 * GIB)
    with farm.house.database.begin() as session:
        machines = {"one": "x86_64", "two": "aarch64"}
        for builder in session.query(Builder):
            builder.machine = machines[builder.name]
    assert [farm.pop("one"), farm.pop("one")] == [first, None]
    assert "; one keeps room for it" in farm.why(second)


def test_a_host_that_went_away_keeps_no_room(farm: Farm) -> None:
    farm.join("one", 8 * GIB, 2), farm.join("two", 2 * GIB, 2)
    first, second = farm.queue(farm.house.source(), 6 * GIB, 6 * GIB)
    assert [farm.pop("one"), farm.pop("one")] == [first, None]
    with farm.house.database.begin() as session:
        session.query(Builder).filter_by(name="one").one().drained_at = clock.now()
    farm.tend()
    assert farm.pop("two") == second


def test_the_limit_of_its_source_holds_for_what_waited_for_memory(farm: Farm) -> None:
    farm.join("one", 4 * GIB, 3)
    source = farm.house.source()
    first, second = farm.queue(source, 3 * GIB, 3 * GIB)
    assert [farm.pop("one"), farm.pop("one")] == [first, None]
    limited(farm.house, source, 0)
    farm.end(first)
    farm.tend()
    assert (farm.line.waiting, farm.takes("one")) == ([], True)
    limited(farm.house, source, 1)
    farm.tend()
    assert farm.pop("one") == second


def test_of_a_host_that_does_not_say_its_memory_all_slots_are_used(farm: Farm) -> None:
    farm.join("one", None, 2)
    made = farm.queue(farm.house.source(), 90 * GIB, 90 * GIB)
    assert [farm.pop("one"), farm.pop("one")] == made


def test_of_unknown_targets_each_has_a_slots_share(farm: Farm) -> None:
    farm.join("one", 8 * GIB, 2)
    made = farm.queue(farm.house.source(), None, None)
    assert [farm.pop("one"), farm.pop("one")] == made


@pytest.mark.parametrize("seed", range(12))
def test_whatever_the_sizes_no_host_is_filled_beyond_its_memory_and_every_job_runs(house, seed: int) -> None:
    farm, chance = Farm(house), random.Random(seed)  # noqa: S311
    for number in range(chance.randint(1, 3)):
        farm.join(f"host{number}", chance.randint(3, 16), chance.randint(1, 3))
    needs = [chance.choice([None, chance.randint(1, 24)]) for _ in range(10)]
    sizes, done = dict(zip(farm.queue(house.source(), *needs), needs, strict=True)), set()
    for _ in range(300):
        able = [name for name in farm.hosts if farm.has_slot(name) and farm.takes(name)]
        if able and farm.line.waiting and chance.random() < 0.8:
            farm.pop(chance.choice(able))
        elif farm.running:
            ended = chance.choice(sorted(farm.running))
            farm.end(ended)
            done.add(ended)
        else:
            farm.tend()
        for name, (memory, slots) in farm.hosts.items():
            here = [sizes[job] or memory // slots for job, (host, _) in farm.running.items() if host == name]
            assert len(here) <= 1 or sum(here) <= memory
            assert all(need <= memory for need in here) or memory == max(farm.hosts.values())[0]
        if len(done) == len(sizes):
            break
    assert done == set(sizes)


def test_the_most_that_recent_jobs_of_a_target_used_teaches_the_next(each_house) -> None:
    source = each_house.source()
    for number, peaks in enumerate([(1000, 4000, None), (2000, 1000, None)]):
        _, made = each_house.build(source, *TARGETS[:2], ref=f"refs/tags/v{number}")
        for job_id, peak in zip(made.values(), peaks, strict=False):
            token = each_house.claim(job_id)
            seen = [{"phase": "build", "memory_bytes": peak // 2}, {"phase": "test", "memory_bytes": peak}]
            each_house.finish(token, phases=[*seen, {"phase": "upload", "memory_bytes": None}])
    with each_house.database.read() as session:
        assert learned.memory_by_target(session, source) == {TARGETS[0]: 2500, TARGETS[1]: 5000}
        assert learned.memory_by_target(session, "nobody") == {}
        assert session.query(Job).filter_by(memory_peak=4000).one().state == State.SUCCEEDED
