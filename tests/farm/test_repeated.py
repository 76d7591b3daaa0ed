"""Deliveries about pull requests that somebody captured and sends once more."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any
from urllib.parse import quote

import pytest
from sqlalchemy import update

from buildfarm.farm.model import Build
from buildfarm.scm import intake
from buildfarm.scm.model import Delivery
from buildfarm.sources.model import PullRequest, Source
from tests.farm.senders import COMMIT, Sender, found, sender_of


@pytest.fixture(params=["github", "gitea", "forgejo"])
def sender(request: pytest.FixtureRequest, house) -> Sender:
    return sender_of(house, request.param)


def about(action: str, at: int) -> bytes:
    """A delivery about pull request 17 in GitHub's form."""
    repository = {"full_name": "acme/widget"}
    asked = {
        "title": "Round the rim", "head": {"sha": COMMIT, "repo": repository}, "base": {"ref": "main"},
        "updated_at": at,
    }  # fmt: skip
    told = {"action": action, "number": 17, "pull_request": asked, "repository": repository}
    return json.dumps(told).encode()


def told(sender: Sender, body: bytes, number: int) -> str | None:
    """The reason, None for an accepted one."""
    answer = sender.send(body, number, event="pull_request")
    assert answer.status_code in {200, 202}, answer.text
    return answer.json["reason"]


def is_open(sender: Sender) -> bool:
    (row,) = found(sender.house, PullRequest)
    return row.closed_at is None


def test_an_old_delivery_under_another_id_takes_no_effect_again(each_house) -> None:
    sender = sender_of(each_house, "github")
    opened, closed, again = about("opened", 1), about("closed", 2), about("reopened", 3)
    assert [told(sender, body, n) for n, body in enumerate((opened, closed, again))] == [
        None, "pull_request_closed", None
    ]  # fmt: skip
    assert told(sender, closed, 4) == "pull_request_repeated"
    assert is_open(sender)
    assert [build.state for build in found(each_house, Build)] == ["cancelled", "queued"]
    assert told(sender, about("closed", 5), 5) == "pull_request_closed"
    for number, body in enumerate((opened, again), 6):
        assert told(sender, body, number) == "pull_request_repeated"
    assert not is_open(sender)
    (*_, last) = sorted(found(each_house, Delivery), key=lambda row: row.id)
    assert (last.state, last.reason) == ("ignored", "pull_request_repeated")


def test_what_the_scm_sends_again_is_a_duplicate(sender: Sender) -> None:
    told(sender, about("opened", 1), 1)
    assert sender.send(about("opened", 1), 1, event="pull_request").json["state"] == "duplicate"
    assert len(found(sender.house, Delivery)) == 1


def test_another_source_may_be_told_the_same(house) -> None:
    one, other = sender_of(house, "github"), sender_of(house, "github", "gadget", "https://x/acme/widget")
    assert [told(each, about("opened", 1), n) for n, each in enumerate((one, other))] == [None, None]


def test_why_something_was_not_built_is_not_that_it_was_told_again(house) -> None:
    sender = sender_of(house, "github")
    with house.database.begin() as session:
        session.execute(update(Source).values(pull_requests="none"))
    for number in (1, 2):
        told(sender, about("opened", 1), number)
    path = f"/api/v1/sources/widget/why?of={COMMIT}"
    assert "builds no pull requests" in house.client(house.token("view")).get(path).json["sentence"]


@pytest.mark.parametrize("scm", ["gitea", "forgejo"])
def test_the_same_in_a_form_is_the_same(house, scm: str) -> None:
    """Of a form these sign the JSON in it, which can be written into it in several ways."""
    sender = sender_of(house, scm)
    opened, closed = about("opened", 1), about("closed", 2)
    told(sender, opened, 1)
    told(sender, closed, 2)
    for number, safe in enumerate(("", '{}":,'), 3):
        form = f"payload={quote(opened.decode(), safe=safe)}".encode()
        headers = sender.headers(opened, number, event="pull_request")
        headers["Content-Type"] = "application/x-www-form-urlencoded"
        answer = house.app.test_client().post("/hooks/widget", data=form, headers=headers)
        assert answer.json["reason"] == "pull_request_repeated"
    assert not is_open(sender)


@pytest.mark.parametrize("scm", ["bitbucket-data-center", "bitbucket-cloud"])
def test_a_comment_is_not_taken_for_the_end_of_its_request(house, scm: str) -> None:
    """Neither the id nor the event's name is signed: with another name, one body tells another event."""
    sender, in_cloud = sender_of(house, scm), scm == "bitbucket-cloud"
    names = "pullrequest:comment_created pullrequest:fulfilled" if in_cloud else "pr:comment:added pr:merged"
    body = json.dumps(in_the_cloud() if in_cloud else in_the_data_center()).encode()
    signature = hmac.new(sender.secret.secret.encode(), body, hashlib.sha256).hexdigest()
    reasons = []
    for number, name in enumerate(names.split()):
        headers = {
            "Content-Type": "application/json", "X-Event-Key": name, "X-Hub-Signature": f"sha256={signature}",
            "X-Request-UUID" if in_cloud else "X-Request-Id": str(number),
        }  # fmt: skip
        answer = house.app.test_client().post("/hooks/widget", data=body, headers=headers)
        reasons.append(answer.json["reason"])
    assert reasons == ["comment_no_command", "pull_request_repeated"]


def in_the_data_center() -> dict[str, Any]:
    repository = {"slug": "widget", "project": {"key": "ACME"}}
    ref = {"id": "refs/heads/topic", "repository": repository, "latestCommit": COMMIT}
    asked = {"id": 17, "title": "x", "fromRef": ref, "toRef": ref | {"id": "refs/heads/main"}}
    return {"pullRequest": asked, "comment": {"id": 1, "text": "Fine.", "author": {"name": "mira"}}}


def in_the_cloud() -> dict[str, Any]:
    repository = {"full_name": "acme/widget"}
    side = {"repository": repository, "branch": {"name": "topic"}, "commit": {"hash": COMMIT}}
    asked = {"id": 17, "title": "x", "source": side, "destination": side}
    return {"repository": repository, "pullrequest": asked, "comment": {"id": 1, "content": {"raw": "Fine."}}}


def test_the_hook_s_test_is_noted_each_time(house) -> None:
    sender = sender_of(house, "github")
    body = json.dumps({"zen": "Speak like a human.", "repository": {"full_name": "acme/widget"}}).encode()
    for number in (1, 2):
        answer = sender.send(body, number, event="ping")
        assert (answer.json["state"], answer.json["reason"]) == ("ignored", "ping")
    assert len(found(house, Delivery)) == 2


def test_what_was_told_before_is_found_by_an_index(house) -> None:
    with house.database.read() as session:
        connection = session.connection()
        asked = str(intake._SAME_BODY.compile(connection))
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {asked}", ("source", "sum")).all()
    assert "ix_delivery_same" in str(plan)
