"""How attempts are executed: by which builder, with which limits, and where that is written down."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from buildfarm import clock
from buildfarm.farm import crew, fleet, registry
from buildfarm.farm.handover import hand_over_waiting
from buildfarm.farm.machines import Execution, executed, families, with_patience
from buildfarm.farm.model import Artifact, Attempt, Job
from buildfarm.farm.waiting import waits_of
from buildfarm.index.provenance import build_facts
from buildfarm.trust.statement import compose
from tests.farm.test_dispatch import posted
from tests.farm.test_handover import Queues

ARM = "build.manylinux-aarch64.dev.interactive"
HERE = "build.manylinux-x86_64.dev.interactive"
CROSS = "build.cross-aarch64.dev.interactive"
TARGETS = [f"cp3{n}-manylinux_2_36_aarch64" for n in range(10, 14)]


def builder(house, name: str, machine: str, *emulates: str, tier: str = "dev") -> str:
    """A builder whose host has joined and says that it is there; its token."""
    with house.database.begin() as session:
        row, token = registry.add_builder(session, name, [tier], actor="test")
        row.machine, row.emulates = machine, list(emulates)
    seen(house, token, machine, *emulates, tier=tier)
    return token


def seen(house, token: str, machine: str, *emulates: str, tier: str = "dev") -> dict:
    queues = [f"build.{family}.{tier}.interactive" for family in families(machine, emulates)]
    return posted(house, token, "builder/seen", {"queues": queues, "slots": 1, "findings": []}).json


def queued(house, queue: str, count: int = 1) -> list[str]:
    """Jobs that wait for builders of a queue."""
    made = list(house.build(house.source(), *TARGETS[:count])[1].values())
    with house.database.begin() as session:
        for job_id in made:
            job = session.get_one(Job, job_id)
            job.queue = queue
            job.spec = {**job.spec, "limits": {**job.spec["limits"], "idle_seconds": 60}}
    return made


def away(house, name: str) -> None:
    with house.database.begin() as session:
        registry.named(session, name).seen_at = clock.now() - timedelta(hours=1)


def test_a_host_builds_for_what_it_runs_and_for_what_it_was_set_up_to_emulate() -> None:
    assert families("aarch64") == ("manylinux-aarch64", "musllinux-aarch64")
    assert families("x86_64", ["aarch64", "i686"]) == (
        "manylinux-x86_64", "musllinux-x86_64", "manylinux-i686", "musllinux-i686",
        "manylinux-aarch64", "musllinux-aarch64", "cross-aarch64",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("family", "machine", "execution"),
    [
        ("manylinux-x86_64", "x86_64", "native"),
        ("musllinux-i686", "x86_64", "native"),
        ("manylinux-x86_64", "i686", "emulated"),
        ("manylinux-aarch64", "x86_64", "emulated"),
        ("cross-aarch64", "x86_64", "cross"),
    ],
)
def test_what_a_host_executes_how(family: str, machine: str, execution: str) -> None:
    assert executed(family, machine) == execution


@pytest.mark.parametrize(
    ("queue", "machine", "emulates", "execution", "seconds"),
    [
        (ARM, "x86_64", ("aarch64",), "emulated", 6000),
        (ARM, "aarch64", (), "native", 600),
        (HERE, "x86_64", ("aarch64",), "native", 600),
        (CROSS, "x86_64", ("aarch64",), "cross", 6000),
    ],
)
def test_an_attempt_says_how_it_is_executed_and_an_emulator_gets_ten_times_the_time(
    each_house, queue: str, machine: str, emulates: tuple[str, ...], execution: str, seconds: int
) -> None:
    (job_id,) = queued(each_house, queue)
    claimed = posted(
        each_house, builder(each_house, "b", machine, *emulates), "claim", {"job": job_id, "attempt": 1}
    )
    limits = claimed.json["spec"]["limits"]
    assert (limits["seconds"], limits["idle_seconds"]) == (seconds, seconds / 10)
    assert limits["output_bytes"] == 1 << 20
    said = each_house.client(each_house.token("admin")).get(f"/api/v1/jobs/{job_id}").json
    assert (said["job"]["execution"], said["attempts"][0]["execution"]) == (execution, execution)
    with each_house.database.read() as session:
        job = session.get_one(Job, job_id)
        assert (
            timedelta() <= job.deadline_at - clock.now() - timedelta(seconds=seconds) < timedelta(minutes=6)
        )


def test_what_one_emulates_is_left_to_another_that_is_such_a_machine(each_house) -> None:
    first, second = queued(each_house, ARM, 2)
    emulating = builder(each_house, "emulating", "x86_64", "aarch64")
    assert seen(each_house, emulating, "x86_64", "aarch64")["leave"] == []
    native = builder(each_house, "native", "aarch64")
    assert seen(each_house, native, "aarch64")["leave"] == []
    leave = seen(each_house, emulating, "x86_64", "aarch64")["leave"]
    assert leave == [ARM, ARM.replace("manylinux", "musllinux")]
    queues = Queues()
    hand_over_waiting(each_house.database, queues)
    refused = posted(each_house, emulating, "claim", {"job": first, "attempt": 1})
    assert (refused.status_code, refused.json["code"]) == (409, "attempt.elsewhere")
    assert posted(each_house, native, "claim", {"job": first, "attempt": 1}).status_code == 200
    away(each_house, "native")
    assert seen(each_house, emulating, "x86_64", "aarch64")["leave"] == []
    assert posted(each_house, emulating, "claim", {"job": second, "attempt": 1}).status_code == 200


def test_it_is_not_left_to_one_of_another_tier(house) -> None:
    emulating = builder(house, "emulating", "x86_64", "aarch64")
    builder(house, "native", "aarch64", tier="release")
    assert seen(house, emulating, "x86_64", "aarch64")["leave"] == []


def test_another_attempt_is_executed_as_its_own_builder_does_it(house) -> None:
    (job_id,) = queued(house, ARM)
    emulating = builder(house, "emulating", "x86_64", "aarch64")
    token = posted(house, emulating, "claim", {"job": job_id, "attempt": 1}).json["token"]
    ended = {"state": "failed", "cause": "infrastructure", "first_error": "The engine broke."}
    posted(house, token, "attempt/finish", ended)
    native = builder(house, "native", "aarch64")
    limits = posted(house, native, "claim", {"job": job_id, "attempt": 2}).json["spec"]["limits"]
    assert limits["seconds"] == 600
    with house.database.read() as session:
        attempts = [session.get_one(Attempt, (job_id, number)).execution for number in (1, 2)]
        assert (attempts, session.get_one(Job, job_id).execution) == (["emulated", "native"], "native")


def test_the_expected_start_does_not_mix_emulators_and_processors(house) -> None:
    emulating, now = builder(house, "emulating", "x86_64", "aarch64"), clock.now()
    for queue, minutes in ((ARM, 50), (HERE, 1)):
        (job_id,) = house.build(house.source(f"s{minutes}", projects=()), TARGETS[0])[1].values()
        with house.database.begin() as session:
            session.get_one(Job, job_id).queue = queue
        house.finish(posted(house, emulating, "claim", {"job": job_id, "attempt": 1}).json["token"])
        with house.database.begin() as session:
            done = session.get_one(Job, job_id)
            done.started_at, done.finished_at = now, now + timedelta(minutes=minutes)
    running, waiting = queued(house, ARM, 2)
    posted(house, emulating, "claim", {"job": running, "attempt": 1})
    with house.database.read() as session:
        waits = waits_of(session, session.get_one(Job, waiting).build_id, house.farm.settings)
    assert round((waits[waiting].expected_at - clock.now()).total_seconds() / 60) == 50


def test_the_machines_of_a_farm_are_those_of_its_admitted_builders(each_house) -> None:
    def machines() -> frozenset[str] | None:
        with each_house.database.read() as session:
            return crew.native_machines(session)

    assert machines() is None
    builder(each_house, "one", "x86_64", "aarch64")
    assert machines() == {"x86_64", "i686"}
    builder(each_house, "two", "aarch64")
    away(each_house, "two")
    assert machines() == {"x86_64", "i686", "aarch64"}
    with each_house.database.begin() as session:
        registry.tokens.revoke(session, registry.named(session, "two").token_id, actor="test")
    assert machines() == {"x86_64", "i686"}


def test_provenance_says_how_it_was_executed_and_the_time_it_had(house) -> None:
    (job_id,) = queued(house, ARM)
    emulating = builder(house, "emulating", "x86_64", "aarch64")
    token = posted(house, emulating, "claim", {"job": job_id, "attempt": 1}).json["token"]
    name, data = house.wheel()
    house.artifact(token, name, data)
    house.finish(token)
    with house.database.read() as session:
        artifact = session.get_one(Artifact, (job_id, 1, name))
        facts = build_facts(session, artifact, "widget", "1.0", house.farm.settings)
    statement = json.loads(compose(facts, "a" * 64, "http://farm.example"))
    internal = statement["predicate"]["buildDefinition"]["internalParameters"]
    assert (internal["execution"], internal["limits"]["seconds"]) == ("emulated", "6000")


def image(digit: str, platform: str, role: str = "builder") -> dict[str, object]:
    return {
        "image_id": f"sha256:{digit * 64}", "platform": platform, "role": role, "suite": "bookworm",
        "interpreters": ["cp311"],
    }  # fmt: skip


def used(house) -> list[str]:
    with house.database.read() as session:
        return [one.image_id[7] for one in fleet.list_images(session, house.farm.settings)]


def test_images_of_several_hosts_are_in_use_side_by_side(each_house) -> None:
    client = each_house.client(each_house.token("admin"))

    def put(*images: dict[str, object]) -> None:
        assert client.put("/api/v1/images", json={"images": images}).status_code == 200

    put(image("1", "manylinux_2_36_x86_64"), image("2", "manylinux_2_36_i686"))
    put(image("3", "manylinux_2_36_aarch64"))
    assert used(each_house) == ["3", "2", "1"]
    put(image("4", "manylinux_2_41_x86_64"))
    assert used(each_house) == ["3", "2", "4"]
    assert client.delete(f"/api/v1/images/sha256:{'2' * 64}").status_code == 200
    assert used(each_house) == ["3", "4"]
    gone = client.delete(f"/api/v1/images/sha256:{'2' * 64}")
    assert (gone.status_code, gone.json["code"]) == (404, "image.unknown")
    put(image("2", "manylinux_2_36_i686"))
    assert used(each_house) == ["3", "2", "4"]


def test_an_image_is_shown_with_its_machine_and_the_builders_that_found_it(house) -> None:
    client = house.client(house.token("admin"))
    client.put("/api/v1/images", json={"images": [image("1", "manylinux_2_36_aarch64")]})
    builder(house, "other", "x86_64")
    token = builder(house, "arm", "aarch64")

    def shown() -> tuple[str, list[str]]:
        (row,) = client.get("/api/v1/images").json["items"]
        return row["machine"], row["builders"]

    assert shown() == ("aarch64", [])
    for good, builders in ((False, []), (True, ["arm"])):
        findings = [{"name": "images", "good": good, "value": "v", "hint": ""}]
        report = {"queues": [ARM], "slots": 1, "findings": findings}
        assert posted(house, token, "builder/seen", report).json["images"] == [f"sha256:{'1' * 64}"]
        assert shown() == ("aarch64", builders)


def test_limits_that_are_no_time_stay_as_they_are() -> None:
    limits = {"seconds": 10, "idle_seconds": 5, "memory_bytes": 1}
    assert with_patience(limits, Execution.NATIVE) == limits
    assert with_patience(limits, Execution.CROSS) == {"seconds": 100, "idle_seconds": 50, "memory_bytes": 1}
