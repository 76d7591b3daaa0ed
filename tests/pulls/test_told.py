"""What the SCM is told of a pull request: the line of its stage, or that its commit waits for a person."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from sqlalchemy import select

from buildfarm.farm import builds, claims
from buildfarm.farm.model import Task
from buildfarm.farm.rules import BUILD, State, advance
from buildfarm.scm import connect
from buildfarm.scm.answers import outbox
from buildfarm.scm.answers.send import Sender as Outbox
from buildfarm.scm.forges import access
from buildfarm.scm.forges.access import Given
from buildfarm.sources.model import Source
from tests.conftest import House
from tests.farm.senders import Sender
from tests.scm.forge_server import ForgeServer

HEAD = "e1" * 20
MARKED, SAID = "repos/create-commit-status", "issues/create-comment"
WAITS = "A maintainer must approve this commit before it is built."


@pytest.fixture
def github() -> Iterator[ForgeServer]:
    server = ForgeServer("github", "/api/v3")
    yield server
    server.close()


@pytest.fixture
def sender(house: House, github: ForgeServer) -> Sender:
    with house.database.begin() as session:
        source, secrets = connect.add_source(
            session, "widget", "https://scm.example/acme/widget.git", scm="github", branches=[], tier="dev",
            pull_requests="approved", allow_file=False, actor="test",
        )  # fmt: skip
        access.set_access(session, source, Given(github.token, github.url + "/api/v3"), actor="test")
    return Sender(house, "widget", "github", secrets)


def opened(
    sender: Sender, count: int = 1, *, number: int = 17, fork: str = "acme/widget", action: str = "opened"
):
    asked = {"title": "Rim", "head": {"sha": HEAD, "repo": {"full_name": fork}}, "base": {"ref": "main"}}
    body = {
        "action": action, "number": number, "pull_request": asked, "repository": {"full_name": "acme/widget"},
    }  # fmt: skip
    return sender.send(json.dumps(body).encode(), count, event="pull_request").json


def send(house: House) -> None:
    while outbox.start_sending(house.database):
        with house.database.begin() as session:
            task = session.scalars(select(Task).where(Task.kind == "notify", Task.state == "queued")).one()
            claims.claim(session, Task, task.id, task.attempt)
            claim = (task.subject, (task.id, task.attempt))
        Outbox(house.database, "http://farm.example", *claim).run()


def publish(house: House, build_id: str) -> None:
    with house.database.begin() as session:
        build = builds.hold(session, build_id)
        for state in (State.RUNNING, State.BUILT, State.PUBLISHED):
            build.state = advance(BUILD, State(build.state), state)
        build.project, build.version = "widget", "1.0"


def test_the_comment_and_the_mark_name_the_stage_and_nothing_is_looked_up(
    house: House, sender: Sender, github: ForgeServer
) -> None:
    (build,) = opened(sender)["builds"]
    publish(house, build["id"])
    send(house)
    line = "pip install --index-url http://farm.example/pr-widget-17/simple/ widget==1.0"
    assert github.of(MARKED)[-1].body["description"] == line
    assert github.of(MARKED)[-1].path.endswith(HEAD)
    assert {call.body["context"] for call in github.of(MARKED)} == {"buildfarm/widget (pull request)"}
    (comment,) = github.of(SAID)
    assert comment.parameters["issue_number"] == "17"
    assert line in comment.body["body"]
    assert "fork" not in comment.body["body"]
    assert not [call for call in github.calls if call.path.endswith("/pulls")]
    assert github.wrong == []


def test_a_commit_that_waits_for_a_person_is_marked_so_once_and_then_as_it_goes_on(
    house: House, sender: Sender, github: ForgeServer
) -> None:
    assert opened(sender, fork="mallory/widget")["reason"] == "pull_request_needs_approval"
    opened(sender, 2, fork="mallory/widget", action="reopened")
    send(house)
    (mark,) = github.of(MARKED)
    assert (mark.body["state"], mark.body["description"]) == ("pending", WAITS)
    assert mark.body["context"] == "buildfarm/widget (pull request)", "the one that its builds have then"
    assert mark.body["target_url"] == "http://farm.example/sources/widget#pull-requests"
    admin = house.client(house.token("admin"))
    path = "/api/v1/sources/widget/pull-requests/17/approvals"
    publish(house, admin.post(path, json={"commit": HEAD}).json["id"])
    send(house)
    assert [call.body["state"] for call in github.of(MARKED)] == ["pending", "pending", "success"]
    (comment,) = github.of(SAID)
    assert "only who may approve it can install from there" in comment.body["body"]
    assert github.wrong == []


def test_a_commit_of_a_branch_and_of_a_request_has_a_mark_for_each(
    house: House, sender: Sender, github: ForgeServer
) -> None:
    with house.database.begin() as session:
        source = session.scalars(select(Source)).one()
        source.branches = ["topic"]
        builds.start(
            session, source, ref="refs/heads/topic", commit=HEAD, trigger="webhook:github", actor="mira"
        )
    (build,) = opened(sender)["builds"]
    publish(house, build["id"])
    send(house)
    marks = {call.body["context"]: call.body["state"] for call in github.of(MARKED)}
    assert marks == {"buildfarm/widget": "pending", "buildfarm/widget (pull request)": "success"}


def test_two_requests_with_one_head_are_both_told_of_their_stages(
    house: House, sender: Sender, github: ForgeServer
) -> None:
    made = [opened(sender, count, number=number)["builds"][0] for count, number in ((1, 17), (2, 18))]
    for build in made:
        publish(house, build["id"])
    send(house)
    said = {call.parameters["issue_number"]: call.body["body"] for call in github.of(SAID)}
    assert [f"/pr-widget-{number}/simple/" in said[number] for number in ("17", "18")] == [True, True]
    assert [call.body["state"] for call in github.of(MARKED)].count("success") == 2


def test_why_the_scm_is_told_nothing_has_a_code(house: House, sender: Sender, github: ForgeServer) -> None:
    github.before = lambda _method, _path: (503, {}, {})
    opened(sender)
    send(house)
    admin = house.client(house.token("admin"))
    told = admin.get("/api/v1/sources/widget").json["answering"]
    assert (told["trouble"], told["code"]) == ("The SCM is not well: it answered 503.", "forge.away")
    page = admin.get("/sources/widget", headers={"Accept": "text/html"}).text
    assert page.count("<code>forge.away</code>") == 2, "the notice, and how it is connected"


def test_a_request_that_changes_nothing_of_the_paths_holds_nobody_up(
    house: House, sender: Sender, github: ForgeServer
) -> None:
    """Its mark may be required: neither a cross nor a wait for ever is right."""
    (build,) = opened(sender)["builds"]
    with house.database.begin() as session:
        builds.leave(session, build["id"], "Nothing of it is built.")
    send(house)
    mark = github.of(MARKED)[-1].body
    assert (mark["state"], mark["description"]) == ("success", "Nothing of it is built.")
    assert github.of(SAID) == []
