"""Following builds and logs: every change once, through outages of the web and over new attempts."""

import threading

import pytest

from buildfarm.access.rules import Principal
from buildfarm.cli.client import Client
from buildfarm.cli.follow import Follower
from buildfarm.errors import ExternalFailure
from buildfarm.farm import builds, jobs, logs
from buildfarm.farm.model import Build, Builder, Job
from buildfarm.farm.rules import Cause, State
from tests.waiting import wait_for


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr("buildfarm.cli.follow._POLL_S", 0.02)


def newest_build(full) -> str:
    with full.farm.database.read() as session:
        return max(build.id for build in session.query(Build))


def end_build(full, count: int, **values) -> threading.Thread:
    """End the build that will be started, once there are more than `count`."""

    def work():
        def started():
            with full.farm.database.read() as session:
                return session.query(Build).count() > count

        wait_for(started)
        with full.farm.database.begin() as session:
            build = session.get_one(Build, newest_build(full))
            for name, value in values.items():
                setattr(build, name, value)

    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_waiting_ends_well_only_when_the_build_is_published(run, full):
    thread = end_build(full, 1, state="published")
    good = run("build", "start", "widget", "--ref", "v2.0", "--wait", "--json")
    thread.join()
    assert good.code == 0
    assert {"id", "state", "cause", "first_error", "files"} <= set(good.json)
    assert f"{good.json['id']}: published" in good.err
    thread = end_build(full, 2, state="failed", cause="user_code", first_error="setup.py: boom")
    bad = run("build", "start", "widget", "--ref", "v2.1", "--wait", "--json")
    thread.join()
    assert (bad.code, bad.json["state"], bad.json["cause"], bad.json["first_error"]) == (
        1, "failed", "user_code", "setup.py: boom",
    )  # fmt: skip


def test_starting_without_waiting_is_good_when_it_is_queued(run):
    started = run("build", "start", "widget", "--ref", "main", "--json")
    assert (started.code, started.json["state"], started.json["files"]) == (0, "queued", [])


def test_each_change_of_a_job_is_told_once(web, full):
    told = []
    with full.farm.database.begin() as session:
        session.get_one(Job, full.waiting_job_id).state = "skipped"
        session.get_one(Build, full.build_id).state = "published"
    Follower(Client(web.url, full.admin), told.append).build(full.build_id)
    assert told == [
        f"{full.build_id}: published",
        "cp313-manylinux_2_28_x86_64: succeeded",
        "cp314-manylinux_2_28_x86_64: skipped",
    ]


class Attempt:
    """A builder's side of the waiting job."""

    def __init__(self, full, number: int) -> None:
        self.farm, self.job_id, self.number, self.size = full.farm, full.waiting_job_id, number, 0
        with self.farm.database.begin() as session:
            builder = session.query(Builder).one()
            principal = Principal(builder.token_id, "builder", frozenset({"builder:dev"}))
            jobs.claim(session, builder, principal, self.job_id, number)

    def say(self, text: str) -> None:
        with self.farm.database.begin() as session:
            self.size = logs.append(
                session, self.job_id, self.number, offset=self.size, phase="build", text=text,
                times=[1_700_000_000_123] * text.count("\n"), max_bytes=10**6,
            )  # fmt: skip

    def end(self, state: State, cause: Cause | None = None) -> None:
        with self.farm.database.begin() as session:
            attempt = logs.attempt_of(session, self.job_id, self.number)
            jobs.finish(session, attempt, {"state": state, "cause": cause}, attempts_max=3)


def test_a_followed_log_survives_a_restart_of_the_web_and_a_new_attempt(web, full):
    seen, told = [], []
    thread = threading.Thread(
        target=lambda: [
            seen.append(segment["text"])
            for segment in Follower(Client(web.url, full.admin), told.append).log(
                full.waiting_job_id, None, follow=True
            )
        ]
    )
    thread.start()
    first = Attempt(full, 1)
    first.say("one\n")
    wait_for(lambda: seen == ["one\n"])
    web.stop()
    wait_for(lambda: told)
    first.say("two\n")
    web.start()
    wait_for(lambda: seen == ["one\n", "two\n"])
    first.end(State.FAILED, Cause.INFRASTRUCTURE)
    second = Attempt(full, 2)
    second.say("three\n")
    second.end(State.SUCCEEDED)
    thread.join(60)
    assert not thread.is_alive()
    assert seen == ["one\n", "two\n", "three\n"]
    assert told == [f"The farm at {web.url} does not answer. Trying again.", "The farm is back."]


def test_patience_with_an_outage_has_an_end(web, full):
    web.stop()
    times = iter([0.0, 60.0, 130.0])
    follower = Follower(
        Client(web.url, full.admin), lambda _: None, sleep=lambda _: None, monotonic=lambda: next(times)
    )
    with pytest.raises(ExternalFailure):
        follower.build(full.build_id)


def test_a_log_is_printed_as_it_was_sent(run, full):
    assert run("job", "logs", full.job_id).out == "fetched\ncompiled ünïcode\nlinked\n"
    assert run("job", "logs", full.job_id, "-f").out == "fetched\ncompiled ünïcode\nlinked\n"


def test_colours_stay_in_a_pipe(run, full):
    attempt = Attempt(full, 1)
    attempt.say("\x1b[31mred\x1b[0m\n")
    attempt.end(State.SUCCEEDED)
    assert run("job", "logs", full.waiting_job_id).out == "\x1b[31mred\x1b[0m\n"


def test_times_stand_before_lines(run, full):
    lines = run("job", "logs", full.job_id, "--timestamps").out.splitlines()
    assert lines[0] == "2023-11-14T22:13:20.000Z fetched"
    assert lines[2] == "2023-11-14T22:13:20.001Z linked"


def test_a_log_as_json_has_a_segment_a_line(run, full):
    assert len(run("job", "logs", full.job_id, "--json").out.splitlines()) == 2


def test_the_log_of_a_job_that_never_ran_is_empty_and_not_followed_for_ever(run, full):
    with full.farm.database.begin() as session:
        builds.cancel(session, full.build_id, actor="test")
    ended = run("job", "logs", full.waiting_job_id, "-f")
    assert (ended.code, ended.out) == (0, "")
