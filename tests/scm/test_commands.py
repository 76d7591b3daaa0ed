"""Commands in comments: read strictly, permitted by the SCM alone, done once, answered where they stand."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from buildfarm import clock
from buildfarm.farm.model import Build, Task
from buildfarm.farm.rules import State
from buildfarm.scm.answers import outbox
from buildfarm.scm.answers.model import Answer
from buildfarm.scm.commands.rules import Command, Verb, command_of
from buildfarm.scm.forges import access
from buildfarm.scm.forges.access import Given
from buildfarm.scm.kinds import scm_for
from buildfarm.scm.model import Delivery
from buildfarm.scm.port import Comment, Event, EventKind
from buildfarm.scm.rules import why_ignored
from buildfarm.scm.show import list_deliveries
from buildfarm.sources.model import Approval, PullRequest, Source
from tests.farm.senders import Sender, sender_of
from tests.farm.test_handover import Queues
from tests.scm.forge_server import ForgeServer
from tests.scm.test_forges import SERVERS
from workers import tasks

HEAD, UUID = "c" * 40, "{d301aafa-d676-4ee0-88be-962be7417567}"
#: Who wrote it, as each SCM's API is asked; `mira` where it goes by names.
AUTHORS = {"gitlab": "4", "bitbucket-cloud": UUID}
#: kind -> the operation that says what somebody may, an answer for who may, one for who may not
PERMISSIONS: dict[str, tuple[str, Any, Any]] = {
    "github": ("repos/get-collaborator-permission-level", {"permission": "write"}, {"permission": "read"}),
    "gitlab": (
        "getProjectMemberIncludingInherited",
        {"id": 4, "access_level": 30, "state": "active"},
        {"id": 4, "access_level": 20, "state": "active"},
    ),
    "gitea": ("repoGetRepoPermissions", {"permission": "admin"}, {"permission": "read"}),
    "forgejo": ("repoGetRepoPermissions", {"permission": "owner"}, {"permission": "none"}),
    "bitbucket-data-center": (
        "getUsers",
        {"isLastPage": True, "values": [{"name": "mira", "active": True}]},
        {"isLastPage": True, "values": [{"name": "mira2", "active": True}]},
    ),
    "bitbucket-cloud": (
        "listRepositoryPermissionsOfWorkspace",
        {"values": [{"permission": "write", "user": {"uuid": UUID}}]},
        {"values": [{"permission": "read", "user": {"uuid": UUID}}]},
    ),
}


def written(
    kind: str, text: str, *, on_request: bool = True, comment_id: int = 1, **more: Any
) -> tuple[str, dict[str, Any]]:
    """The event's name, and what the SCM sends of a comment by mira below request 17."""
    match kind:
        case "github" | "gitea" | "forgejo":
            told = {"url": "https://x.example"} if on_request else None
            return "issue_comment", {
                "action": "created", "repository": {"full_name": "acme/widget"}, "sender": {"login": "mira"},
                "issue": {"number": 17, "pull_request": told},
                "comment": {"id": comment_id, "body": text, "user": {"login": "mira"}},
            } | more  # fmt: skip
        case "gitlab":
            note = {"id": comment_id, "note": text, "author_id": 4}
            note |= {"noteable_type": "MergeRequest" if on_request else "Issue"}
            return "Note Hook", {
                "object_kind": "note", "user": {"username": "mira"}, "object_attributes": note | more,
                "project": {"path_with_namespace": "acme/widget"}, "merge_request": {"iid": 17},
            }  # fmt: skip
        case "bitbucket-data-center":
            here = {"slug": "widget", "project": {"key": "ACME"}}
            return "pr:comment:added", {
                "actor": {"name": "mira"},
                "comment": {"id": comment_id, "text": text, "author": {"name": "mira"}},
                "pullRequest": {"id": 17, "toRef": {"id": "refs/heads/main", "repository": here}},
            } | more  # fmt: skip
        case _:
            return "pullrequest:comment_created", {
                "actor": {"nickname": "mira"}, "repository": {"full_name": "acme/widget"},
                "pullrequest": {"id": 17},
                "comment": {"id": comment_id, "content": {"raw": text}, "user": {"uuid": UUID}},
            } | more  # fmt: skip


def parsed(kind: str, name: str, body: dict[str, Any]) -> Event:
    headers = {"X-GitHub-Event": name, "X-Gitea-Event": name, "X-Forgejo-Event": name, "X-Event-Key": name}
    (event,) = scm_for(kind).parse(headers, json.dumps(body).encode())
    return event


@dataclass
class Talk:
    """A source of one kind of SCM, its server, request 17 there, and what is written below it."""

    house: Any
    kind: str
    server: ForgeServer
    sender: Sender
    source_id: str
    count: int = 0

    def permit(self, permitted: bool) -> None:
        operation, may, may_not = PERMISSIONS[self.kind]
        answer = may if permitted else may_not
        self.server.judge = lambda call: (200, {}, answer) if call.operation == operation else None

    def request(self, *, is_fork: bool = False, approved: str = "", closed: bool = False) -> None:
        with self.house.database.begin() as session:
            row = PullRequest(
                id="pul_1", source_id=self.source_id, number=17, ref="refs/pull/17/head", head=HEAD,
                base="refs/heads/main", head_repository="x/y", is_fork=is_fork, opened_at=clock.now(),
                closed_at=clock.now() if closed else None,
            )  # fmt: skip
            session.add(row)
            if approved:
                row.approvals.append(Approval(commit=approved, actor="ada", approved_at=clock.now()))
            session.get_one(Source, self.source_id).pull_requests = "approved" if is_fork else "own"

    def write(self, text: str, **more: Any) -> dict[str, Any]:
        """The answer to the delivery of a comment."""
        self.count += 1
        name, body = written(self.kind, text, **{"comment_id": self.count} | more)
        data = json.dumps(body).encode()
        headers = self.sender.headers(data, self.count, event=name)
        if "X-Event-Key" in headers:
            headers["X-Event-Key"] = name
        # Buffered: to the end of the answer, after which the rest is done.
        answer = self.house.app.test_client().post("/hooks/widget", data=data, headers=headers, buffered=True)
        return answer.json

    def work(self) -> None:
        """Do what waits for the notifier: commands, then what is to be said of them."""
        for _ in range(2):
            outbox.start_sending(self.house.database)
            with self.house.database.read() as session:
                waiting = select(Task).where(Task.state == State.QUEUED, Task.queue == "notify")
                found = session.scalars(waiting).all()
            for task in found:
                tasks.run_task(task.id, task.attempt, 1)

    def all(self, model: type) -> list[Any]:
        with self.house.database.read() as session:
            return list(session.scalars(select(model)))

    @property
    def ledger(self) -> tuple[str, str | None]:
        """State and reason of the last delivery."""
        row = max(self.all(Delivery), key=lambda one: one.id)
        return row.state, row.reason

    @property
    def replies(self) -> list[str]:
        """What the SCM was asked to write below the request."""
        comments = [
            call for call in self.server.calls if call.body and "omment" in call.path + call.operation
        ]
        notes = [call for call in self.server.calls if call.body and call.path.endswith("/17/notes")]
        bodies = [call.body for call in comments + notes]
        return [one.get("body") or one.get("text") or one["content"]["raw"] for one in bodies]


@contextmanager
def talking(house: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Talk]]:
    """Begins a talk with a kind of SCM."""
    servers: list[ForgeServer] = []
    monkeypatch.setattr(tasks, "own_farm", lambda: house.farm)

    def begin(kind: str, *, token: bool = True) -> Talk:
        description, prefix, api = SERVERS[kind]
        server = ForgeServer(description, prefix)
        servers.append(server)
        sender = sender_of(house, kind)
        with house.database.begin() as session:
            source = session.scalars(select(Source)).one()
            if token:
                access.set_access(session, source, Given(server.token, server.url + api), actor="test")
            source_id = source.id
        return Talk(house, kind, server, sender, source_id)

    yield begin
    for server in servers:
        server.close()


@pytest.fixture
def talk_on(house, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Talk]]:
    with talking(house, monkeypatch) as begin:
        yield begin


@pytest.fixture(params=list(SERVERS))
def talk(request: pytest.FixtureRequest, talk_on) -> Talk:
    return talk_on(request.param)


@pytest.fixture
def github(each_house, monkeypatch: pytest.MonkeyPatch) -> Iterator[Talk]:
    with talking(each_house, monkeypatch) as begin:
        yield begin("github")


@pytest.mark.parametrize(
    ("text", "command"),
    [
        ("/buildfarm build", Command(Verb.BUILD)), ("/buildfarm  help  \r\nthanks", Command(Verb.HELP)),
        (f"/buildfarm approve {HEAD}\n", Command(Verb.APPROVE, HEAD)),
        (f"/buildfarm approve {HEAD[:12]}", Command(Verb.APPROVE, HEAD[:12])),
        ("/buildfarm approve", Command(Verb.UNKNOWN)), ("/buildfarm", Command(Verb.UNKNOWN)),
        ("/buildfarm build please", Command(Verb.UNKNOWN)), ("/buildfarm Build", Command(Verb.UNKNOWN)),
        ("/buildfarmer build", None), (" /buildfarm build", None), ("\n/buildfarm build", None),
        ("> /buildfarm build", None), ("please /buildfarm build", None), ("/BUILDFARM build", None),
        ("/buildfarm\tbuild", None), ("", None), (None, None), (7, None),
    ],
)  # fmt: skip
def test_a_command_is_the_whole_first_line(text: object, command: Command | None) -> None:
    assert command_of(text) == command


@given(st.text(max_size=60), st.text(max_size=60))
def test_whatever_is_written_nothing_but_the_words_themselves_is_a_command(first: str, rest: str) -> None:
    for text in (first, f"/buildfarm {first}"):
        found = command_of(f"{text}\n{rest}")
        line = text.partition("\n")[0].rstrip("\r ")
        if found and found.verb is Verb.BUILD:
            assert line.split() == ["/buildfarm", "build"]
        if found and found.verb is Verb.APPROVE:
            assert line.split() == ["/buildfarm", "approve", found.commit]


@pytest.mark.parametrize("kind", list(SERVERS))
def test_each_scm_tells_who_wrote_which_command_below_which_request(kind: str) -> None:
    event = parsed(kind, *written(kind, "/buildfarm build"))
    assert (event.kind, event.repository.lower()) == (EventKind.COMMENT, "acme/widget")
    assert (event.actor, event.title) == ("mira", "/buildfarm build")
    assert event.comment == Comment(Command(Verb.BUILD), 17, AUTHORS.get(kind, "mira"), "1")
    assert why_ignored(event) == "command_waits"
    said = parsed(kind, *written(kind, "Looks good, /buildfarm build"))
    assert (said.kind, said.comment, why_ignored(said)) == (EventKind.COMMENT, None, "comment_no_command")


@pytest.mark.parametrize(("kind", "issue"), [("github", 17), ("gitea", 17), ("gitlab", None)])
def test_a_command_that_stands_elsewhere_names_no_request(kind: str, issue: int | None) -> None:
    event = parsed(kind, *written(kind, "/buildfarm build", on_request=False))
    assert event.comment is not None
    assert (event.comment.request, event.comment.issue) == (None, issue)
    assert why_ignored(event) == ("command_waits" if issue else "command_no_request")


@pytest.mark.parametrize("kind", ["github", "gitea", "forgejo", "gitlab"])
def test_a_command_below_an_issue_is_answered_there_where_issues_are_written_to_as_requests_are(
    talk_on, kind: str
) -> None:
    talk = talk_on(kind)
    talk.permit(True)
    talk.write("/buildfarm build", on_request=False)
    talk.work()
    assert (talk.all(Build), talk.ledger) == ([], ("ignored", "command_no_request"))
    asked = [call.operation for call in talk.server.calls]
    assert PERMISSIONS[kind][0] not in asked, "what is done for nobody needs no permission"
    assert ["below an issue or a commit, where the farm takes none" in one for one in talk.replies] == (
        [] if kind == "gitlab" else [True]
    )
    assert all("/issues/17" in call.path for call in talk.server.calls)
    assert talk.server.wrong == []


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("github", {"action": "edited"}),
        ("github", {"action": "deleted"}),
        ("gitlab", {"action": "update"}),
        ("gitlab", {"system": True}),
    ],
)
def test_what_is_no_new_comment_of_a_person_is_no_command(kind: str, more: dict[str, Any]) -> None:
    assert why_ignored(parsed(kind, *written(kind, "/buildfarm build", **more))) == "event_not_handled"


def test_who_may_push_has_the_head_built_again_and_is_answered(talk: Talk) -> None:
    talk.request()
    talk.permit(True)
    assert talk.write("/buildfarm build")["reason"] == "command_waits"
    assert talk.all(Build) == []
    talk.work()
    (build,) = talk.all(Build)
    assert (build.ref, build.commit, build.trigger) == ("refs/pull/17/head", None, "comment")
    assert (build.actor, build.fresh, build.pull_request_id) == ("mira", True, "pul_1")
    assert talk.ledger == ("accepted", None)
    (reply,) = talk.replies
    (delivery,) = talk.all(Delivery)
    assert f"[Build 1](http://farm.example/builds/{build.id}) begins." in reply
    assert f"(http://farm.example/deliveries/{delivery.id})" in reply
    assert talk.server.wrong == []


def test_who_may_not_push_gets_nothing_but_the_reason(talk: Talk) -> None:
    talk.request()
    talk.permit(False)
    talk.write("/buildfarm build")
    talk.work()
    assert talk.all(Build) == []
    assert talk.ledger == ("ignored", "command_not_permitted")
    (reply,) = talk.replies
    assert "may not push" in reply
    assert command_of(reply) is None, "the farm's own words must call nobody"
    client = talk.house.client(talk.house.token("admin"))
    page = client.get("/deliveries", headers={"Accept": "text/html"}).text
    assert "<code>/buildfarm build</code>" in page, "what was asked, beside what became of it"
    assert talk.server.wrong == []


def test_somebody_whom_the_scm_does_not_know_may_not_push(talk: Talk) -> None:
    talk.request()
    operation = PERMISSIONS[talk.kind][0]
    nobody = (404, {}, {"message": "Not Found"})
    if talk.kind.startswith("bitbucket"):
        nobody = (200, {}, {"isLastPage": True, "values": []})
    talk.server.judge = lambda call: nobody if call.operation == operation else None
    talk.write("/buildfarm build")
    talk.work()
    assert (talk.all(Build), talk.ledger) == ([], ("ignored", "command_not_permitted"))


@pytest.mark.parametrize(
    "answer", [(502, {}, None), (403, {}, {"message": "Must have admin rights"}), (200, {}, [])]
)
def test_what_the_scm_does_not_say_is_no_permission(github: Talk, answer: Any) -> None:
    github.request()
    github.server.judge = lambda call: answer if "permission" in call.operation else None
    github.write("/buildfarm build")
    github.work()
    assert (github.all(Build), github.ledger) == ([], ("ignored", "command_unchecked"))
    assert "could not be asked" in github.replies[0]


def test_a_command_that_came_while_the_scm_was_away_is_never_done_and_the_scm_is_told_so_once_it_is_back(
    github: Talk, monkeypatch: pytest.MonkeyPatch
) -> None:
    github.request()
    github.server.before = lambda _method, _path: (502, {}, None)
    github.write("/buildfarm build")
    github.work()
    assert github.ledger == ("ignored", "command_unchecked")
    github.server.before = lambda _method, _path: None
    github.permit(True)
    later = clock.now() + timedelta(minutes=20)
    monkeypatch.setattr(clock, "now", lambda: later)
    github.work()
    (reply,) = github.replies
    assert "could not be asked" in reply
    assert "It will not be done later either: write it again." in reply
    assert github.all(Build) == []


def test_without_a_token_for_the_api_no_command_is_done(talk_on) -> None:
    talk = talk_on("github", token=False)
    talk.request()
    talk.write("/buildfarm build")
    talk.work()
    assert (talk.all(Build), talk.ledger) == ([], ("ignored", "command_unchecked"))
    assert talk.all(Answer) == []


def test_a_payload_says_nothing_of_what_somebody_may(github: Talk) -> None:
    github.request()
    github.permit(False)
    name, body = written("github", "/buildfarm build")
    body["comment"]["author_association"] = "OWNER"
    body["sender"]["site_admin"] = True
    github.sender.send(json.dumps(body).encode(), 9, event=name)
    github.work()
    assert github.ledger == ("ignored", "command_not_permitted")


def test_an_unsigned_command_is_refused(github: Talk) -> None:
    name, body = written("github", "/buildfarm build")
    data = json.dumps(body).encode()
    headers = github.sender.headers(data, event=name, secret="guessed")
    assert github.house.app.test_client().post("/hooks/widget", data=data, headers=headers).status_code == 401
    github.work()
    assert github.ledger == ("rejected", "signature_wrong")
    assert github.server.calls == []


def test_a_forks_commit_is_approved_by_its_whole_id_and_built_again_once_it_is(github: Talk) -> None:
    github.request(is_fork=True)
    github.permit(True)
    github.write("/buildfarm build")
    github.work()
    assert (github.all(Build), github.ledger) == ([], ("ignored", "command_not_done"))
    assert f"/buildfarm approve {HEAD}" in github.replies[-1]
    github.write(f"/buildfarm approve {'d' * 40}")
    github.work()
    assert (github.all(Build), github.ledger) == ([], ("ignored", "command_not_done"))
    github.write(f"/buildfarm approve {HEAD}")
    github.work()
    (build,) = github.all(Build)
    assert (build.commit, build.actor, github.ledger) == (HEAD, "mira", ("accepted", None))
    (approval,) = github.all(Approval)
    assert (approval.commit, approval.actor) == (HEAD, "mira")
    github.write("/buildfarm build")
    github.work()
    assert [one.commit for one in github.all(Build)] == [HEAD, HEAD]


@pytest.mark.parametrize(
    ("request_", "text", "reason", "said"),
    [
        ({"closed": True}, "/buildfarm build", "command_not_done", "is over"),
        (None, "/buildfarm build", "command_not_done", "No delivery told of a pull request 17"),
        ({}, f"/buildfarm approve {HEAD}", "command_not_done", "needs no approval"),
        ({"is_fork": True}, f"/buildfarm approve {HEAD[:12]}", "command_not_done", "by its full"),
        ({}, "/buildfarm help", "command_answered", "/buildfarm approve COMMIT"),
        ({}, "/buildfarm deploy", "command_unknown", "/buildfarm build"),
    ],
)
def test_what_is_permitted_and_builds_nothing_is_answered(
    github: Talk, request_: dict[str, Any] | None, text: str, reason: str, said: str
) -> None:
    if request_ is not None:
        github.request(**request_)
    github.permit(True)
    github.write(text)
    github.work()
    assert (github.all(Build), github.ledger) == ([], ("ignored", reason))
    assert said in github.replies[-1]


def test_a_source_that_builds_no_requests_builds_none_by_command(github: Talk) -> None:
    github.request()
    github.permit(True)
    with github.house.database.begin() as session:
        session.get_one(Source, github.source_id).pull_requests = "none"
    github.write("/buildfarm build")
    github.work()
    assert (github.all(Build), github.ledger) == ([], ("ignored", "command_not_done"))


def test_a_command_is_found_in_the_ledger_by_the_id_that_the_scm_gave_its_delivery(talk: Talk) -> None:
    talk.request()
    talk.write("/buildfarm build")
    (delivery,) = talk.all(Delivery)
    given = scm_for(talk.kind).delivery_id(delivery.headers)
    assert given
    with talk.house.database.read() as session:
        found, _ = list_deliveries(session, search=given)
    assert [one.id for one in found] == [delivery.id]


def test_a_command_is_done_once_however_often_it_is_sent(github: Talk) -> None:
    github.request()
    github.permit(True)
    github.write("/buildfarm build")
    github.count -= 1
    github.write("/buildfarm build")
    github.work()
    github.work()
    assert len(github.all(Build)) == len(github.replies) == 1


def test_a_comment_that_two_hooks_tell_of_is_one_command(talk: Talk) -> None:
    """An organisation's hook and the repository's own: two deliveries, each with an id of its own."""
    talk.request()
    talk.permit(True)
    talk.write("/buildfarm build", comment_id=7)
    assert talk.write("/buildfarm build", comment_id=7)["state"] == "duplicate"
    talk.work()
    talk.work()
    assert len(talk.all(Build)) == len(talk.replies) == 1
    talk.write("/buildfarm build", comment_id=8)
    talk.work()
    old, _ = sorted(talk.all(Build), key=lambda one: one.number)
    assert old.first_error == "Superseded by build 2, which was asked for later, of this pull request."
    assert len(talk.replies) == 2


def test_whoever_asks_what_was_asked_before_is_answered_too(talk: Talk) -> None:
    """The SCM shows the first answer, so a second one must not be taken for it."""
    talk.permit(False)
    for _ in range(2):
        talk.write("/buildfarm help")
        talk.work()
    assert len(talk.replies) == 2


def test_a_command_waits_for_no_round_of_the_keeper(github: Talk) -> None:
    queues = Queues()
    github.house.farm.__dict__["queues"] = queues
    github.request()
    github.write("/buildfarm help")
    (task,) = github.all(Task)
    assert (task.kind, queues.held) == ("command", {(task.id, 1, 1)})
    assert task.handed_over_at
