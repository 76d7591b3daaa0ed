"""Strangers' code that means harm: each ends with the right verdict, its container gone.

The projects lie in tests/fixtures/hostile; docs/isolation.md says which attack each of them is.
"""

import os
import socket

import pytest

import docker
from buildfarm.sandbox.channel import MAX_UNKNOWN
from tests.sandbox.conftest import INSTANCE, PURE_WHEEL, hostile, hostile_project

pytestmark = pytest.mark.engine

MIB = 1024 * 1024


@pytest.fixture(autouse=True)
def no_container_is_left(engine):
    yield
    client = docker.APIClient(base_url=engine)
    try:
        assert client.containers(all=True, filters={"label": f"buildfarm.instance={INSTANCE}"}) == []
    finally:
        client.close()


def limits(**changes):
    return {"seconds": 240, "memory_bytes": 256 * MIB, "pids": 64, "scratch_bytes": 64 * MIB, **changes}


@pytest.mark.parametrize(
    ("project", "changes", "state", "cause", "sentence"),
    [
        ("fork-bomb", {"memory_bytes": 1024 * MIB}, "failed", "limit", "64 processes"),
        ("fork-bomb-in-the-background", {}, "failed", "limit", "64 processes"),
        ("memory-bomb", {}, "failed", "limit", "256 MiB"),
        ("child-killed-for-memory", {}, "failed", "limit", "256 MiB"),
        ("disk-bomb", {"memory_bytes": 512 * MIB}, "failed", "limit", "scratch space"),
        ("zip-bomb", {"memory_bytes": 512 * MIB}, "failed", "limit", "scratch space"),
        ("endless-loop", {"seconds": 4}, "timed_out", "limit", "4 seconds"),
        ("says-it-is-over", {"seconds": 4}, "timed_out", "limit", "4 seconds"),
        ("holds-the-door", {}, "failed", "user_code", "handed out no file"),
        ("silence", {"idle_seconds": 1.5}, "timed_out", "limit", "Nothing was printed"),
        ("exit-that-looks-good", {}, "failed", "user_code", "ended without an answer"),
        ("answers-too-deeply", {}, "failed", "user_code", "ended without an answer"),
        ("answers-nonsense", {}, "failed", "user_code", "no list of requirements"),
        ("kills-the-farm-s-script", {}, "failed", "user_code", ""),
        ("output-missing", {}, "failed", "user_code", "x.whl"),
        ("output-of-another-kind", {}, "failed", "limit", "not the name"),
        ("output-too-large", {"output_bytes": MIB}, "failed", "limit", "larger than"),
        ("output-flood", {}, "failed", "limit", "more than 20 files"),
        ("output-is-a-link", {}, "failed", "user_code", "cannot be handed out"),
        ("output-is-a-fifo", {}, "failed", "user_code", "no regular file"),
        ("output-with-a-newline", {}, "failed", "limit", "not the name"),
        ("abuses-the-door", {}, "failed", "limit", "not the name"),
        ("forges-facts", {}, "failed", "limit", "the last word was said"),
    ],
)
def test_it_ends_with_the_right_verdict(attempt, project, changes, state, cause, sentence):
    outcome, farm = attempt(hostile_project(project), limits=limits(**changes))

    assert (outcome.state, outcome.cause) == (state, cause), (outcome.first_error, farm.log[-2000:])
    assert sentence in outcome.first_error
    assert farm.artifacts == {}
    assert "REACHED" not in farm.log


def test_a_gigabyte_of_log_is_cut_and_the_build_goes_on(attempt):
    outcome, farm = attempt(hostile_project("log-flood"), limits=limits(log_bytes=MIB))

    assert outcome.state == "succeeded", outcome.first_error
    assert len(farm.log.encode()) <= MIB
    omitted = int(farm.log.split(" bytes omitted")[0].rsplit(" ", 1)[1])
    assert omitted > 1000 * MIB


def test_no_machine_and_no_process_beside_it_is_reached(attempt, engine):
    name = f"buildfarm-hostile-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as abstract, socket.create_server(("127.0.0.1", 0)) as port:
        abstract.bind("\0" + name)
        abstract.listen()
        outcome, farm = attempt(
            hostile_project("reaches-out"),
            environment={
                "ABSTRACT": name,
                "FARM_PORT": str(port.getsockname()[1]),
                "ENGINE": engine.removeprefix("unix://"),
            },
        )

    assert outcome.state == "succeeded", farm.log
    assert "REACHED" not in farm.log
    assert farm.log.count("refused ") == 19
    assert "interfaces [(1, 'lo')]" in farm.log


def test_the_kernel_gives_no_way_out(attempt):
    outcome, farm = attempt(hostile_project("climbs"))

    assert outcome.state == "succeeded", farm.log
    assert "REACHED" not in farm.log
    assert farm.log.count("refused ") == 45
    assert "setuid []" in farm.log
    assert "nosuid,nodev" in farm.log
    assert str(["0" * 16] * 5 + ["1", "2"]) in farm.log


def test_nothing_of_the_builder_is_read_or_written(attempt, tmp_path, monkeypatch):
    secret = "canary-of-the-builder"
    monkeypatch.setenv("BUILDER_SECRET", secret)
    (tmp_path / "secret").write_text(secret)
    outcome, farm = attempt(
        hostile_project("reads-and-writes-the-host"), environment={"SECRET_FILE": str(tmp_path / "secret")}
    )

    assert outcome.state == "succeeded", farm.log
    assert "REACHED" not in farm.log
    assert farm.log.count("refused ") == 33
    assert "found []" in farm.log
    assert int(farm.log.split("searched ")[1].split()[0]) > 100
    assert "own processes only" in farm.log
    assert "DOCKER_HOST" not in farm.log


def test_nothing_of_an_attempt_is_there_for_the_next(attempt):
    logs = []
    for _ in range(2):
        outcome, farm = attempt(hostile_project("leaves-a-marker"), environment={"MARKER": f"m{os.getpid()}"})
        assert outcome.state == "succeeded", farm.log
        logs.append(farm.lines_of("build"))

    assert all("found [] running 0 queues 1" in log for log in logs), logs
    assert "left in ['/tmp', " in logs[0]
    assert "'/run/farm'" not in logs[0]


def test_a_forged_log_blames_nobody_else(attempt):
    outcome, farm = attempt(hostile_project("forges-the-log"))

    assert (outcome.state, outcome.cause, outcome.phase) == ("failed", "user_code", "build")
    assert {phase for phase, _text, _times in farm.segments} == {"source", "deps", "build"}
    assert "upload calm-1" in farm.lines_of("build")
    assert "\0" not in farm.log


def test_names_that_nobody_has_end_the_build_and_are_told(attempt):
    outcome, farm = attempt(hostile_project("asks-for-names"))

    assert (outcome.state, outcome.cause) == ("failed", "policy")
    assert f"asked the index for {MAX_UNKNOWN + 1} names that are not there" in outcome.first_error
    assert "acme-internal-0, acme-internal-1, " in outcome.first_error
    assert "Asked for, and nowhere: acme-internal-0, " in farm.log
    assert len([path for path in farm.asked if "acme" in path]) == MAX_UNKNOWN + 1
    assert farm.artifacts == {}


def test_the_farm_s_variables_cannot_be_replaced_by_a_recipe(attempt):
    probe = "print('epoch', os.environ['SOURCE_DATE_EPOCH'], os.environ['MY_FLAG'])\n"
    outcome, farm = attempt(
        hostile(probe + PURE_WHEEL), environment={"SOURCE_DATE_EPOCH": "1", "MY_FLAG": "on"}
    )

    assert outcome.state == "succeeded", farm.log
    assert "epoch 1700000000 on" in farm.log
