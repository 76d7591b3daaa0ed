"""The outbox: what SCMs are told, in order, whatever is away or dies meanwhile."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select
from sqlalchemy.sql.compiler import SQLCompiler

from buildfarm import clock
from buildfarm.cli.doctor import doctor
from buildfarm.db.engine import Database
from buildfarm.errors import Conflict, InvalidInput
from buildfarm.farm import builds, claims
from buildfarm.farm.model import Build, Task
from buildfarm.farm.rules import BUILD, State, advance
from buildfarm.index import names
from buildfarm.scm import connect
from buildfarm.scm.answers import note, outbox, pause, rules
from buildfarm.scm.answers.model import Answer, AnswerPause
from buildfarm.scm.answers.send import Sender
from buildfarm.scm.answers.show import answering, answers_of_build, backlog
from buildfarm.scm.forges import access
from buildfarm.scm.forges.access import Given
from buildfarm.scm.forges.port import Outcome
from buildfarm.sources.model import Source
from tests.scm.forge_server import Call, ForgeServer

T1, T2 = "cp313-manylinux_2_28_x86_64", "cp314-manylinux_2_28_x86_64"
OF_BRANCH = "buildfarm/widget"
ROLL_UP = f"{OF_BRANCH} (tag)"  # what a house's builds are of, unless they say so
COMMIT = "a" * 40  # what a house's builds are of


class Clock:
    """The farm's clock, which tests move."""

    def __init__(self) -> None:
        self.moved = timedelta()
        self._real = clock.now

    def now(self) -> datetime:
        return self._real() + self.moved

    def move(self, **by: float) -> None:
        self.moved += timedelta(**by)


@pytest.fixture
def moved(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(clock, "now", made.now)
    return made


@pytest.fixture
def github() -> Iterator[ForgeServer]:
    server = ForgeServer("github", "/api/v3")
    # A commit of no request, unless a test says otherwise.
    server.judge = lambda call: (200, {}, []) if call.path.endswith("/pulls") else None
    yield server
    server.close()


@pytest.fixture
def gitlab() -> Iterator[ForgeServer]:
    server = ForgeServer("gitlab")
    yield server
    server.close()


def source_of(house, server: ForgeServer, name: str = "widget", *, kind: str = "github") -> str:
    """A source whose SCM is the server; its id."""
    api = server.url + ("/api/v3" if kind == "github" else "")
    with house.database.begin() as session:
        source, _ = connect.add_source(
            session, name, f"https://scm.example/acme/{name}.git", scm=kind, branches=["main"], tier="dev",
            allow_file=False, actor="test",
        )  # fmt: skip
        names.make_local(session, [name], source, actor="test")
        access.set_access(session, source, Given(server.token, api), actor="test")
        return source.id


def send(house) -> int:
    """Let tasks be made and done, as keeper and worker do; how many."""
    done = 0
    while outbox.start_sending(house.database):
        with house.database.begin() as session:
            task = session.scalars(select(Task).where(Task.kind == "notify", Task.state == "queued")).one()
            claims.claim(session, Task, task.id, task.attempt)
            claim = (task.subject, (task.id, task.attempt))
        Sender(house.database, "http://farm.example", *claim).run()
        done += 1
    return done


def publish(house, build_id: str, version: str = "1.0") -> None:
    with house.database.begin() as session:
        build = builds.hold(session, build_id)
        build.state = advance(BUILD, State(build.state), State.PUBLISHED)
        build.project, build.version = "widget", version


def told(server: ForgeServer, context: str = "") -> list[tuple[str, str]]:
    """(context, state) of the statuses that the server took, in order; of one context alone."""
    bodies = [call.body for call in server.of("repos/create-commit-status")]
    return [(one["context"], one["state"]) for one in bodies if context in {"", one["context"]}]


def noted(house, build_id: str, *, kind: str = "status") -> list[Answer]:
    with house.database.read() as session:
        query = select(Answer).where(Answer.build_id == build_id, Answer.kind == kind)
        return list(session.scalars(query.order_by(Answer.id)))


def test_each_change_of_a_build_is_told_in_order_and_once(each_house, github) -> None:
    build_id, made = each_house.build(source_of(each_house, github), T1, T2)
    assert send(each_house) == 1
    assert sorted(told(github)) == sorted(
        [(ROLL_UP, "pending"), (f"{ROLL_UP}/{T1}", "pending"), (f"{ROLL_UP}/{T2}", "pending")]
    )
    for job in made.values():
        each_house.finish(each_house.claim(job))
    publish(each_house, build_id)
    send(each_house)
    assert told(github, ROLL_UP) == [(ROLL_UP, "pending"), (ROLL_UP, "pending"), (ROLL_UP, "success")]
    assert [state for _, state in told(github, f"{ROLL_UP}/{T2}")] == ["pending", "pending", "success"]
    last = github.of("repos/create-commit-status")[-1].body
    assert last["target_url"] == f"http://farm.example/builds/{build_id}"
    assert last["description"] == "pip install --index-url http://farm.example/dev/simple/ widget==1.0"
    assert github.wrong == []
    count = len(github.calls)
    assert send(each_house) == 0
    assert len(github.calls) == count
    assert {row.state for row in noted(each_house, build_id)} == {"sent"}


def test_a_failed_target_is_quoted_with_a_link_to_its_line(each_house, github) -> None:
    _, made = each_house.build(source_of(each_house, github), T1)
    token = each_house.claim(made[T1])
    line = "src/rim.c:12:5: error: " + "no such header " * 20
    each_house.finish(token, "failed", cause="user_code", first_error=line)
    send(each_house)
    target, roll_up = github.of("repos/create-commit-status")[-2:]
    assert target.body["state"] == roll_up.body["state"] == "failure"
    assert target.body["description"].startswith("src/rim.c:12:5: error: no such header")
    assert len(target.body["description"]) <= 140
    assert target.body["target_url"] == f"http://farm.example/jobs/{made[T1]}"
    assert roll_up.body["description"].startswith(f"{T1}: src/rim.c:12:5")
    assert github.wrong == []


def test_a_build_that_dies_before_it_has_jobs_ends_its_status_too(each_house, github) -> None:
    build_id, _ = each_house.build(source_of(each_house, github))
    with each_house.database.begin() as session:
        builds.fail(session, build_id, InvalidInput("No recipe of widget takes it.", code="recipe.none"))
    send(each_house)
    assert told(github) == [(ROLL_UP, "pending"), (ROLL_UP, "failure")]


def test_what_is_cancelled_or_superseded_is_told(each_house, github) -> None:
    source_id = source_of(each_house, github)
    build_id, _ = each_house.build(source_id, T1)
    with each_house.database.begin() as session:
        builds.cancel(session, build_id, actor="ada")
    send(each_house)
    assert told(github, ROLL_UP)[-1] == (ROLL_UP, "error")
    assert github.calls[-1].body["description"] == f"{T1}: Cancelled by ada."


def test_what_is_cancelled_before_it_is_planned_is_no_success(each_house, github) -> None:
    """Nobody built that commit: where the mark is required, it must not let it pass."""
    source_id = source_of(each_house, github)
    with each_house.database.begin() as session:
        build = builds.start(
            session, session.get_one(Source, source_id), ref="refs/heads/main", commit=COMMIT,
            trigger="manual", actor="ada",
        )  # fmt: skip
    with each_house.database.begin() as session:
        builds.cancel(session, build.id, actor="ada")
    send(each_house)
    assert told(github, OF_BRANCH)[-1] == (OF_BRANCH, "error")
    with each_house.database.read() as session:
        assert session.get_one(Build, build.id).cause is None


def test_a_transaction_that_is_rolled_back_tells_nothing(each_house, github) -> None:
    build_id, _ = each_house.build(source_of(each_house, github), T1)
    before = len(noted(each_house, build_id))

    def cancel_twice() -> None:
        with each_house.database.begin() as session:
            for _ in range(2):
                builds.cancel(session, build_id, actor="ada")

    with pytest.raises(Conflict):
        cancel_twice()
    assert len(noted(each_house, build_id)) == before


def test_a_target_that_is_tried_again_does_not_wait_again(each_house, github) -> None:
    _, made = each_house.build(source_of(each_house, github), T1)
    token = each_house.claim(made[T1])
    assert each_house.finish(token, "failed", cause="infrastructure", first_error="disk") == State.QUEUED
    each_house.finish(each_house.claim(made[T1], 2))
    send(each_house)
    assert [state for _, state in told(github, f"{ROLL_UP}/{T1}")] == ["pending", "pending", "success"]


def test_an_optional_target_that_fails_does_not_mark_the_commit_red(each_house, github) -> None:
    source_id = source_of(each_house, github)
    build_id, made = each_house.build(source_id, T1, optional=(T2,))
    each_house.finish(each_house.claim(made[T2]), "failed", cause="user_code", first_error="too old")
    each_house.finish(each_house.claim(made[T1]))
    publish(each_house, build_id)
    send(each_house)
    assert {told(github, context)[-1][1] for context in (ROLL_UP, f"{ROLL_UP}/{T2}")} == {"success"}
    said = {call.body["description"] for call in github.of("repos/create-commit-status")}
    assert "Optional, and failed: too old" in said


def test_an_older_build_of_a_commit_is_silent_when_a_newer_one_speaks(each_house, github) -> None:
    source_id = source_of(each_house, github)
    old, made = each_house.build(source_id, T1)
    new, _ = each_house.build(source_id, T1)
    each_house.finish(each_house.claim(made[T1]), "failed", cause="user_code", first_error="x")
    send(each_house)
    assert told(github, ROLL_UP) == [(ROLL_UP, "pending"), (ROLL_UP, "pending")]
    publishing = noted(each_house, new)
    assert [row.outcome for row in publishing if row.context == ROLL_UP] == ["pending"]
    assert len(noted(each_house, old)) == 2


def test_a_branch_and_a_tag_of_one_commit_are_both_told_to_their_end(each_house, gitlab) -> None:
    """GitLab has a pipeline for each ref, and one that nobody ends runs there for ever."""
    source_id = source_of(each_house, gitlab, kind="gitlab")
    refs = ["refs/heads/main", "refs/tags/v1.0"]
    with each_house.database.begin() as session:
        source = session.get_one(Source, source_id)
        made = [
            builds.start(session, source, ref=ref, commit=COMMIT, trigger="webhook:gitlab", actor="ada").id
            for ref in refs
        ]
    for build_id in made:
        with each_house.database.begin() as session:
            builds.fail(session, build_id, Conflict("No.", code="test.no"))
    send(each_house)
    states = {call.body["ref"]: call.body["state"] for call in gitlab.of("setCommitStatus")}
    assert states == {"main": "failed", "v1.0": "failed"}


def test_what_is_said_of_a_tag_and_of_the_branch_with_the_same_commit_does_not_hide_each_other(
    each_house, github
) -> None:
    """GitHub shows the last status of a name, whatever ref it was of."""
    source_id = source_of(each_house, github)
    with each_house.database.begin() as session:
        source = session.get_one(Source, source_id)
        _, tag = (
            builds.start(session, source, ref=ref, commit=COMMIT, trigger="webhook:github", actor="ada").id
            for ref in ("refs/heads/main", "refs/tags/v1.0")
        )
    with each_house.database.begin() as session:
        builds.fail(session, tag, Conflict("No.", code="test.no"))
    send(each_house)
    assert dict(told(github)) == {OF_BRANCH: "pending", ROLL_UP: "failure"}


def test_builds_that_repeat_another_one_and_sources_without_a_token_tell_nothing(each_house, github) -> None:
    build_id, _ = each_house.build(each_house.source("plain", projects=()), T1)
    assert noted(each_house, build_id) == []
    source_id = source_of(each_house, github)
    first, _ = each_house.build(source_id, T1)
    with each_house.database.begin() as session:
        again = builds.start(
            session, session.get_one(Source, source_id), ref="refs/tags/v1.0", commit=COMMIT,
            trigger="compare", actor="ada",
        )  # fmt: skip
        again.compares_id = first
    assert noted(each_house, again.id) == []


def test_the_statuses_of_each_recipe_of_a_push_have_a_name_of_their_own(each_house, github) -> None:
    source_id = source_of(each_house, github)
    first, _ = each_house.build(source_id, T1)
    with each_house.database.begin() as session:  # as the plan makes it: without a task that fetches
        twin = Build(
            id="bld_0000000000twin", number=builds.next_number(session, source_id), source_id=source_id,
            trigger="test", ref="refs/tags/v1.0", commit=COMMIT, recipe_name="rim", channel="dev",
            state=State.QUEUED, created_at=clock.now(),
        )  # fmt: skip
        session.add(twin)
        builds.hold(session, twin.id)
    assert {row.context for row in noted(each_house, first)} >= {ROLL_UP}
    assert [row.context for row in noted(each_house, twin.id)] == [f"{OF_BRANCH} (rim, tag)"]


# Away, slow, refusing ---------------------------------------------------------------------------------


def test_an_scm_that_answers_502_for_two_minutes_gets_all_in_order_afterwards(
    each_house, github, moved: Clock
) -> None:
    """users.md, story 5."""
    github.before = lambda _method, _path: (502, {}, None)
    build_id, made = each_house.build(source_of(each_house, github), T1, T2)
    for _ in range(24):
        send(each_house)
        moved.move(seconds=5)
        if job := next(iter(made), None):
            each_house.finish(each_house.claim(made.pop(job)))
        elif each_house.state(build_id) == State.BUILT:
            publish(each_house, build_id)
    assert each_house.state(build_id) == State.PUBLISHED
    assert github.calls == []
    with each_house.database.read() as session:
        (trouble,) = answering(session, [session.get_one(Build, build_id).source_id]).values()
    assert (trouble.waiting, trouble.trouble) == (len(noted(each_house, build_id)), trouble.trouble)
    assert trouble.trouble == "The SCM is not well: it answered 502."
    github.before = lambda _method, _path: None
    moved.move(minutes=11)
    send(each_house)
    rows = noted(each_house, build_id)
    assert told(github) == [
        (row.context, {"running": "pending"}.get(row.outcome, row.outcome)) for row in rows
    ]
    assert {row.state for row in rows} == {"sent"}
    with each_house.database.read() as session:
        assert session.scalars(select(AnswerPause)).all() == []


def test_an_scm_that_was_away_for_a_day_is_told_everything_once_and_in_order(
    each_house, github, moved: Clock
) -> None:
    source_id = source_of(each_house, github)
    github.before = lambda _method, _path: (503, {"Retry-After": "120"}, None)
    made_builds = []
    asked = 0
    for _ in range(24):
        build_id, made = each_house.build(source_id, T1)
        each_house.finish(each_house.claim(made[T1]), "failed", cause="user_code", first_error="x")
        made_builds.append(build_id)
        asked += send(each_house)
        moved.move(hours=1)
    assert asked == 24
    with each_house.database.read() as session:
        found = backlog(session)
    assert found.oldest_s > 23 * 3600
    assert len(found.troubles) == 1
    github.before = lambda _method, _path: None
    for _ in range(10):  # the budget of a minute is 60
        send(each_house)
        moved.move(minutes=1)
    rows = [row for build_id in made_builds for row in noted(each_house, build_id)]
    assert {row.state for row in rows} == {"sent"}
    assert len(told(github)) == len(rows)
    assert [call.body["target_url"] for call in github.calls] == [
        f"http://farm.example{row.path}" for row in rows
    ]


def test_no_more_is_said_in_a_minute_than_the_budget(each_house, github, moved: Clock) -> None:
    source_id = source_of(each_house, github)
    for _ in range(pause.PER_MINUTE // 2):
        each_house.build(source_id, T1)
    for _ in range(8):
        each_house.build(source_id, T1)
    send(each_house)
    assert len(github.calls) == pause.PER_MINUTE
    assert send(each_house) == 0
    moved.move(seconds=61)
    send(each_house)
    assert len(github.calls) == 76


def test_a_rate_limit_is_waited_for_as_long_as_the_scm_says(each_house, github, moved: Clock) -> None:
    build_id, _ = each_house.build(source_of(each_house, github), T1)
    reset = str(int((moved.now() + timedelta(minutes=20)).timestamp()))
    limited = {"x-ratelimit-remaining": "0", "x-ratelimit-reset": reset}
    github.before = lambda _method, _path: (403, limited, {"message": "API rate limit exceeded"})
    assert send(each_house) == 1
    with each_house.database.read() as session:
        (row,) = session.scalars(select(AnswerPause)).all()
        why = answers_of_build(session, build_id)[0].why
    assert row.code == "forge.rate_limited"
    assert "asked too often" in why
    github.before = lambda _method, _path: None
    moved.move(minutes=19)
    assert send(each_house) == 0
    moved.move(minutes=2)
    assert send(each_house) == 1
    assert len(github.calls) == 2


def test_a_refused_token_stops_its_source_alone_until_there_is_a_new_one(each_house, github) -> None:
    bad, good = source_of(each_house, github), source_of(each_house, github, "gadget")
    with each_house.database.begin() as session:
        source = session.get_one(Source, bad)
        given = Given("old-token", github.url + "/api/v3")
        access.set_access(session, source, given, actor="test")
    each_house.build(bad, T1)
    each_house.build(good, T1)
    send(each_house)
    assert {context.split("/")[1] for context, _ in told(github)} == {"gadget (tag)"}
    with each_house.database.begin() as session:
        found = answering(session, [bad])[bad]
        assert "does not take the token" in (found.trouble or "")
        source = session.get_one(Source, bad)
        row = access.set_access(session, source, Given(github.token, github.url + "/api/v3"), actor="test")
        outbox.address_again(session, bad, row.host)
    send(each_house)
    assert {context.split("/")[1] for context, _ in told(github)} == {"gadget (tag)", "widget (tag)"}


def test_what_an_scm_refuses_is_noted_and_the_next_goes_on(each_house, github) -> None:
    build_id, _ = each_house.build(source_of(each_house, github), T1)

    def judge(call: Call):
        refused = call.body["context"].endswith(T1)
        return (422, {}, {"message": "No commit found for SHA"}) if refused else None

    github.judge = judge
    send(each_house)
    states = {row.context: (row.state, row.error) for row in noted(each_house, build_id)}
    assert states[ROLL_UP] == ("sent", None)
    state, error = states[f"{ROLL_UP}/{T1}"]
    assert state == "refused"
    assert "No commit found for SHA" in (error or "")


def test_an_answer_that_nobody_can_read_is_not_asked_for_again_at_once(each_house, gitlab) -> None:
    build_id, _ = each_house.build(source_of(each_house, gitlab, kind="gitlab"), T1)
    gitlab.judge = lambda _call: (201, {}, ["no", "status"])
    assert send(each_house) == 1
    assert send(each_house) == 0
    with each_house.database.read() as session:
        assert "cannot be read" in answers_of_build(session, build_id)[0].why


def test_gitlab_moves_each_status_one_way(each_house, gitlab) -> None:
    steps = {None: {"pending", "running", "success", "failed"}, "pending": {"running", "success", "failed"},
             "running": {"success", "failed"}}  # fmt: skip
    now: dict[str, str] = {}

    def judge(call: Call):
        if call.operation != "setCommitStatus":
            return None
        name, new = call.body["name"], call.body["state"]
        if now.get(name) == new:
            return 400, {}, {"message": f"Cannot transition status via :x from :{new}"}
        assert new in steps[now.get(name)], (name, now.get(name), new)
        now[name] = new
        return None

    gitlab.judge = judge
    build_id, made = each_house.build(source_of(each_house, gitlab, kind="gitlab"), T1, ref="refs/heads/main")
    send(each_house)
    each_house.finish(each_house.claim(made[T1]))
    publish(each_house, build_id)
    send(each_house)
    assert now == {OF_BRANCH: "success", f"{OF_BRANCH}/{T1}": "success"}
    (note,) = gitlab.of("createNote")
    assert "pip install --index-url http://farm.example/dev/simple/ widget==1.0" in note.body["body"]
    assert gitlab.wrong == []


def test_a_comment_of_a_request_is_changed_by_the_next_build(each_house, gitlab) -> None:
    source_id = source_of(each_house, gitlab, kind="gitlab")
    for version in ("1.0", "1.1"):
        build_id, made = each_house.build(source_id, T1, ref="refs/heads/main")
        each_house.finish(each_house.claim(made[T1]))
        publish(each_house, build_id, version)
        send(each_house)
    assert len(gitlab.of("createNote")) == 1
    assert "widget==1.1" in gitlab.of("editNote")[-1].body["body"]


@given(st.lists(st.sampled_from(list(Outcome))))
def test_nothing_that_has_begun_or_ended_is_told_to_wait_again(outcomes: list[Outcome]) -> None:
    said: list[Outcome] = []
    for outcome in outcomes:
        if not said or rules.is_step(said[-1], outcome):
            said.append(outcome)
    order = [{Outcome.PENDING: 0, Outcome.RUNNING: 1}.get(outcome, 2) for outcome in said]
    assert order == sorted(order)
    assert all(one != next_one for one, next_one in itertools.pairwise(said))


def test_words_of_a_log_call_nobody() -> None:
    build = rules.BuildFacts(
        "bld_1", 7, "widget", None, "refs/heads/main", State.FAILED, "dev", None, None,
        "@everyone\n# see http://x </code>\x1b[31m",
    )  # fmt: skip
    found = rules.comment(build, OF_BRANCH, "https://farm.example")
    assert found is not None
    assert found.text.splitlines()[-1] == "    @everyone # see http://x </code> [31m"


def test_a_source_that_is_removed_or_has_no_token_any_more_is_told_nothing(each_house, github) -> None:
    kept, gone = source_of(each_house, github), source_of(each_house, github, "gadget")
    one, _ = each_house.build(kept, T1)
    other, _ = each_house.build(gone, T1)
    with each_house.database.begin() as session:
        access.remove_access(session, session.get_one(Source, kept), actor="test")
        outbox.drop(session, kept)
        connect.remove_source(session, session.get_one(Source, gone), actor="test")
    assert send(each_house) == 0
    assert {row.state for build_id in (one, other) for row in noted(each_house, build_id)} == {"dropped"}
    assert github.calls == []


def test_a_source_that_moves_to_another_host_takes_no_token_along(each_house, github) -> None:
    source_id = source_of(each_house, github)
    build_id, _ = each_house.build(source_id, T1)
    for url, is_kept in (
        ("https://scm.example/acme/rim.git", True),
        ("https://other.example/a/b.git", False),
    ):
        with each_house.database.begin() as session:
            source = session.get_one(Source, source_id)
            connect.move_source(session, source, url, allow_file=False, actor="test")
        with each_house.database.read() as session:
            assert (source_id in answering(session, [source_id])) is is_kept
    assert {row.state for row in noted(each_house, build_id)} == {"dropped"}


def test_what_waited_too_long_is_given_up_and_what_is_old_forgotten(each_house, github, moved: Clock) -> None:
    build_id, _ = each_house.build(source_of(each_house, github), T1)
    moved.move(days=31)
    assert outbox.tidy(each_house.database) == 2
    assert {row.state for row in noted(each_house, build_id)} == {"dropped"}
    moved.move(days=91)
    outbox.tidy(each_house.database)
    assert noted(each_house, build_id) == []


# Shown ------------------------------------------------------------------------------------------------


def test_pages_say_what_was_told_what_waits_and_why(house, github) -> None:
    build_id, made = house.build(source_of(house, github), T1)
    send(house)
    github.before = lambda _method, _path: (502, {}, None)
    house.finish(house.claim(made[T1]), "failed", cause="user_code", first_error="no <b>header</b>")
    send(house)
    client = house.client(house.token("view"))
    html = {"Accept": "text/html"}
    page = client.get(f"/builds/{build_id}", headers=html).text
    assert "Told to the SCM" in page
    assert f"<code>{ROLL_UP}/{T1}</code>" in page
    assert "The SCM is not well: it answered 502." in page
    assert "no &lt;b&gt;header" in page
    source_page = client.get("/sources/widget", headers=html).text
    assert "The SCM is not told of builds now; 4 wait." in source_page
    answers = client.get(f"/api/v1/builds/{build_id}").json["answers"]
    assert [one["state"] for one in answers] == ["sent"] * 2 + ["waiting"] * 4


def test_doctor_finds_what_waits_for_long(house, github, moved: Clock, monkeypatch, tmp_path: Path) -> None:
    house.build(source_of(house, github), T1)
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nobody.sock")
    monkeypatch.setenv("BUILDFARM_DATABASE", house.database.url)

    def found() -> tuple[bool, str]:
        said = CliRunner().invoke(doctor, ["--data", str(tmp_path), "--json"])
        (one,) = [row for row in json.loads(said.output)["findings"] if row["name"] == "answers to SCMs"]
        return one["good"], one["value"]

    assert found() == (True, "2 waiting, for 0 min at the most")
    github.before = lambda _method, _path: (502, {}, None)
    send(house)
    moved.move(minutes=11)
    good, value = found()
    assert not good
    assert value.startswith("2 waiting, for 11 min at the most; 127.0.0.1:")


# A worker that dies ----------------------------------------------------------------------------------

_DYING = """
import os, signal, sys
from buildfarm import bootstrap, config
from buildfarm.scm.answers.send import Sender

class Dying(Sender):
    def _note(self, answer, state, **more):
        if answer.id == int(sys.argv[4]):
            os.kill(os.getpid(), signal.SIGKILL)
        super()._note(answer, state, **more)

farm = bootstrap.farm(config.load())
Dying(farm.database, farm.settings.public_url, sys.argv[1], (sys.argv[2], int(sys.argv[3]))).run()
"""


def test_a_worker_that_is_killed_between_sending_and_noting_sends_one_status_twice(
    each_house, github, tmp_path: Path
) -> None:
    build_id, made = each_house.build(source_of(each_house, github), T1)
    each_house.finish(each_house.claim(made[T1]))
    publish(each_house, build_id)
    rows = noted(each_house, build_id)
    victim = rows[2]
    outbox.start_sending(each_house.database)
    with each_house.database.begin() as session:
        task = session.scalars(select(Task).where(Task.kind == "notify")).one()
        claims.claim(session, Task, task.id, task.attempt)
        arguments = [task.subject, task.id, str(task.attempt), str(victim.id)]
    settings = tmp_path / "settings.json"
    settings.write_text(each_house.farm.settings.model_dump_json())
    died = subprocess.run(
        [sys.executable, "-c", _DYING, *arguments],
        env=os.environ | {"BUILDFARM_CONFIG": str(settings)}, capture_output=True, check=False, timeout=60,
    )  # fmt: skip
    assert died.returncode == -signal.SIGKILL, died.stderr
    with each_house.database.begin() as session:  # what the worker's parent does at once
        claims.requeue(session, Task, task.id, task.attempt)
        claims.claim(session, Task, task.id, task.attempt + 1)
    Sender(each_house.database, "http://farm.example", task.subject, (task.id, task.attempt + 1)).run()
    sent = [
        (call.body["context"], call.body["description"]) for call in github.of("repos/create-commit-status")
    ]
    wanted = [(row.context, row.description) for row in rows]
    assert sent == [*wanted[:3], *wanted[2:]]  # the third came twice, as it was: the SCM shows the same
    assert {row.state for row in noted(each_house, build_id)} == {"sent"}


def test_what_was_rehearsed_of_telling_is_compiled_no_more(
    house, github: ForgeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_id, _ = house.build(source_of(house, github), T1)
    other = Database(house.database.url)
    with other.begin() as session:
        note.rehearse(session)
    compiled = []
    compile_it = SQLCompiler.__init__
    monkeypatch.setattr(
        SQLCompiler, "__init__", lambda self, *a, **kw: (compiled.append(a), compile_it(self, *a, **kw))[1]
    )
    with other.begin() as session:
        builds.hold(session, build_id)
        assert compiled
        compiled.clear()
        note.noting("http://farm.example")(session)
    assert not compiled
    other.close()
