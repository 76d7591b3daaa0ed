"""The hook in an SCM by its API: installed, called, looked at, repaired, rotated, removed."""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
from collections.abc import Iterator

import pytest
from sqlalchemy import select

from buildfarm.errors import NotFound
from buildfarm.farm import claims
from buildfarm.farm.builds import WATCH
from buildfarm.farm.model import Task
from buildfarm.journal.model import JournalRow
from buildfarm.scm import connect
from buildfarm.scm.forges import access
from buildfarm.scm.forges.access import Given
from buildfarm.scm.forges.model import ForgeAccess
from buildfarm.scm.hooking import orders, perform
from buildfarm.scm.hooking.orders import OrderRow
from buildfarm.scm.hooking.rules import Ping, Verb
from buildfarm.scm.hooking.watch import Watcher, start_looking
from buildfarm.sources.model import Source, SourceSecret
from tests.scm.forge_server import Answer, Call, ForgeServer

HOOK_URL = "http://farm.example/hooks/widget"


class Ghe(ForgeServer):
    """A GitHub that calls the hook when it is asked to ping it, signed with the secret that it was given."""

    def __init__(self, house) -> None:
        super().__init__("github", "/api/v3")
        self.house, self.secret, self.is_reachable = house, "", True
        self.judge = self._judge
        self._pings: list[threading.Thread] = []

    def close(self) -> None:
        super().close()
        for ping in self._pings:
            ping.join(30)

    def _judge(self, call: Call) -> Answer | None:
        if call.body and "config" in call.body:
            self.secret = call.body["config"]["secret"]
        if call.operation == "repos/list-webhooks":
            return 200, {}, [one for key, one in self.made.items() if "/hooks/" in key]
        if call.operation == "repos/ping-webhook" and self.is_reachable:
            self._pings.append(threading.Thread(target=self._ping, args=(self.secret, len(self._pings))))
            self._pings[-1].start()
        return None

    def _ping(self, secret: str, number: int) -> None:
        body = json.dumps({"zen": "Design for failure.", "hook_id": 1}).encode()
        signature = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
        self.house.app.test_client().post(
            "/hooks/widget", data=body,
            headers={
                "Content-Type": "application/json", "X-GitHub-Event": "ping",
                "X-GitHub-Delivery": f"72d3162e-cc78-11e3-81ab-{number:012d}",
                "X-Hub-Signature-256": f"sha256={signature}",
            },
        )  # fmt: skip


@pytest.fixture
def ghe(each_house) -> Iterator[Ghe]:
    server = Ghe(each_house)
    with each_house.database.begin() as session:
        source, _ = connect.add_source(
            session, "widget", "https://ghe.example/acme/widget.git", scm="github", branches=["main"],
            tier="dev", allow_file=False, actor="test",
        )  # fmt: skip
        access.set_access(session, source, Given(server.token, server.url + "/api/v3"), actor="test")
    yield server
    server.close()


def ordered(house, verb: Verb) -> OrderRow:
    """Order it, and let a worker perform it."""
    with house.database.begin() as session:
        source = session.scalars(select(Source).where(Source.name == "widget")).one()
        placed = orders.place(session, source, verb, actor="ada")
    with house.database.begin() as session:
        task = session.scalars(select(Task).where(Task.kind == "hook", Task.state == "queued")).one()
        assert (task.subject, task.queue) == (placed.id, "notify")
        claims.claim(session, Task, task.id, task.attempt)
    perform.Performer(house.database, "http://farm.example", (task.id, task.attempt)).perform(placed.id)
    with house.database.read() as session:
        found = orders.newest(session, source.id)
    assert found is not None
    assert found.id == placed.id
    return found


def page_of(house) -> str:
    client = house.client(house.token("admin", name="reader"))
    return client.get("/sources/widget", headers={"Accept": "text/html"}).text


def secrets(house) -> list[tuple[str, bool]]:
    """The live secrets and whether each was used, the oldest first."""
    with house.database.read() as session:
        rows = session.scalars(select(SourceSecret).order_by(SourceSecret.created_at))
        return [(row.value, row.last_used_at is not None) for row in rows]


def test_a_hook_is_installed_with_the_events_that_are_read_and_a_secret_that_works(
    each_house, ghe: Ghe
) -> None:
    done = ordered(each_house, Verb.REPAIR)
    assert (done.state, done.good, done.error) == ("done", True, None)
    assert done.health is not None
    assert done.health.ping is Ping.CAME
    assert done.health.ping_delivery
    (made,) = ghe.of("repos/create-webhook")
    assert made.body["config"]["url"] == HOOK_URL
    assert set(made.body["events"]) == {"push", "release", "pull_request", "issue_comment", "repository"}
    assert secrets(each_house) == [(made.body["config"]["secret"], True)]
    again = ordered(each_house, Verb.REPAIR)
    assert again.good
    assert again.health is not None
    assert again.health.hook_id == done.health.hook_id
    assert len(ghe.of("repos/create-webhook")) == 1
    assert ghe.wrong == []
    with each_house.database.read() as session:
        kinds = [row.kind for row in session.scalars(select(JournalRow).order_by(JournalRow.serial))]
    assert kinds.count("source.hook") == 2


def test_what_somebody_changed_is_said_and_repaired(each_house, ghe: Ghe) -> None:
    ordered(each_house, Verb.REPAIR)
    (key,) = [key for key in ghe.made if "/hooks/" in key]
    ghe.made[key] |= {"events": ["push"], "active": False, "config": {"url": HOOK_URL + "x"}}
    found = ordered(each_house, Verb.CHECK)
    assert found.good is False
    assert found.health is not None
    assert found.health.drift == (
        f"It calls {HOOK_URL}x and should call {HOOK_URL}.",
        "It is switched off.",
        "It does not tell of issue_comment, pull_request, release, repository.",
    )
    assert ordered(each_house, Verb.REPAIR).good


def test_a_hook_that_was_made_by_hand_is_found_by_its_address(each_house, ghe: Ghe) -> None:
    ordered(each_house, Verb.REPAIR)
    with each_house.database.begin() as session:
        session.scalars(select(ForgeAccess)).one().hook_id = None
    ordered(each_house, Verb.REPAIR)
    assert len(ghe.of("repos/create-webhook")) == 1


def test_an_scm_that_cannot_reach_the_farm_is_told_from_one_that_signs_wrongly(
    each_house, ghe: Ghe, monkeypatch
) -> None:
    monkeypatch.setattr(perform, "_PING_S", 0.5)
    ghe.is_reachable = False
    lost = ordered(each_house, Verb.REPAIR)
    assert lost.health is not None
    assert (lost.good, lost.health.ping) == (False, Ping.LOST)
    assert "can the SCM reach http://farm.example?" in lost.health.ping_detail
    monkeypatch.setattr(perform, "_PING_S", 60.0)
    ghe.is_reachable, ghe.secret = True, "somebody else's secret"
    wrong = ordered(each_house, Verb.CHECK)
    assert wrong.health is not None
    assert (wrong.good, wrong.health.ping) == (False, Ping.REFUSED)
    assert wrong.health.ping_delivery


def test_new_secrets_are_live_beside_the_old_before_the_scm_has_them(each_house, ghe: Ghe) -> None:
    ordered(each_house, Verb.REPAIR)
    old = ghe.secret
    assert ordered(each_house, Verb.ROTATE).good
    assert ghe.secret != old
    assert secrets(each_house) == [(old, True), (ghe.secret, True)]
    ghe.secret = old  # a call that was on its way
    assert ordered(each_house, Verb.CHECK).good


def test_a_rotation_that_the_scm_did_not_hear_of_goes_on_where_it_was(each_house, ghe: Ghe) -> None:
    ordered(each_house, Verb.REPAIR)
    old = ghe.secret
    ghe.judge = lambda call: (502, {}, None) if call.operation == "repos/update-webhook" else ghe._judge(call)
    for _ in range(2):
        assert ordered(each_house, Verb.ROTATE).state == "failed"
    assert (old, True) in secrets(each_house)
    ghe.judge = ghe._judge
    assert ordered(each_house, Verb.ROTATE).good
    assert secrets(each_house) == [(old, True), (ghe.secret, True)]


def test_a_hook_is_removed(each_house, ghe: Ghe) -> None:
    ordered(each_house, Verb.REPAIR)
    gone = ordered(each_house, Verb.REMOVE)
    assert (gone.state, gone.good) == ("done", None)
    assert ghe.made == {}
    assert ordered(each_house, Verb.REMOVE).state == "done"
    missing = ordered(each_house, Verb.CHECK)
    assert missing.health is not None
    assert missing.health.drift == ("There is no hook that calls this farm.",)


def test_what_the_scm_says_no_to_is_said(each_house, ghe: Ghe) -> None:
    ghe.before = lambda _method, _path: (401, {}, {"message": "Bad credentials"})
    refused = ordered(each_house, Verb.REPAIR)
    assert (refused.state, refused.good) == ("failed", None)
    assert 'does not take the token ("Bad credentials")' in (refused.error or "")
    assert refused.code == "forge.token_refused"
    assert "does not take it.</p>" in page_of(each_house), "a token that is refused is no step that is done"


def test_nobody_promises_that_an_order_is_done_later(each_house, ghe: Ghe) -> None:
    ghe.before = lambda _method, _path: (503, {}, {})
    failed = ordered(each_house, Verb.CHECK)
    assert (failed.code, failed.error) == ("forge.away", "The SCM is not well: it answered 503.")


def test_a_look_that_found_the_hook_gone_outdates_what_was_ordered_before(each_house, ghe: Ghe) -> None:
    assert ordered(each_house, Verb.REPAIR).good
    ghe.made.clear()
    assert start_looking(each_house.database) == 1
    with each_house.database.begin() as session:
        task = session.scalars(select(Task).where(Task.kind == WATCH, Task.state == "queued")).one()
        claims.claim(session, Task, task.id, task.attempt)
    Watcher(each_house.database, "http://farm.example", (task.id, task.attempt)).look(task.subject)
    page = page_of(each_house)
    assert page.count("The hook that the farm made is gone.") == 3, "the notice, the step, the look"
    assert "It is in the SCM" not in page


def test_a_look_that_finds_no_hook_of_the_source_s_own_does_not_call_it_well(each_house, ghe: Ghe) -> None:
    assert not ordered(each_house, Verb.CHECK).good
    assert start_looking(each_house.database) == 1
    with each_house.database.begin() as session:
        task = session.scalars(select(Task).where(Task.kind == WATCH, Task.state == "queued")).one()
        claims.claim(session, Task, task.id, task.attempt)
    Watcher(each_house.database, "http://farm.example", (task.id, task.attempt)).look(task.subject)
    page = page_of(each_house)
    assert "there is no hook of its own." in page
    assert "all is well" not in page


def test_a_page_follows_a_worker_closely(each_house, ghe: Ghe) -> None:
    with each_house.database.begin() as session:
        source = session.scalars(select(Source).where(Source.name == "widget")).one()
        orders.place(session, source, Verb.CHECK, actor="ada")
    assert 'data-refresh="1"' in page_of(each_house)


def test_a_source_without_a_token_has_no_orders(house) -> None:
    house.source()
    with house.database.begin() as session:
        source = session.scalars(select(Source)).one()
        with pytest.raises(NotFound):
            orders.place(session, source, Verb.CHECK, actor="ada")


def test_the_page_shows_what_came_of_the_test_call_and_no_secret(each_house, ghe: Ghe) -> None:
    ordered(each_house, Verb.REPAIR)
    page = page_of(each_house)
    assert "It came after" in page
    assert 'data-refresh="10"' in page
    assert "<strong>good</strong>" in page
    assert ghe.secret not in page
