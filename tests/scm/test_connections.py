"""One hook for all repositories of an owner: whose source a delivery is for, and how the hook does."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from datetime import datetime

import pytest
from sqlalchemy import select, update

from buildfarm import clock
from buildfarm.errors import Conflict, InvalidInput, NotFound
from buildfarm.farm import claims
from buildfarm.farm.model import Task
from buildfarm.scm import connections
from buildfarm.scm.forges import access
from buildfarm.scm.forges.access import Given
from buildfarm.scm.healing import Healer
from buildfarm.scm.hooking import orders, watch
from buildfarm.scm.hooking.model import HookWatch
from buildfarm.scm.hooking.perform import Performer
from buildfarm.scm.hooking.rules import Verb
from buildfarm.scm.hooking.show import watched
from buildfarm.scm.hooking.watch import Watcher
from buildfarm.scm.model import Sighting
from buildfarm.scm.port import Event, EventKind
from buildfarm.scm.show import list_deliveries
from buildfarm.sources import show
from buildfarm.sources.contract import Held
from tests.conftest import House
from tests.scm.connected import Connected
from tests.scm.forge_server import Answer, Call, ForgeServer


def test_a_push_builds_the_source_that_listens_to_the_repository(connected: Connected) -> None:
    connected.source("widget")
    connected.source("gadget", "https://ghe.example/acme/gadget.git")
    answer = connected.push()
    assert (answer.status_code, len(answer.json["builds"])) == (202, 1)
    assert connected.builds() == ["widget"]
    with connected.house.database.read() as session:
        (row,), _ = list_deliveries(session)
        (secret,) = show.get_connection(session, "acme").secrets
    assert (row.source, row.connection, row.state) == ("widget", "acme", "accepted")
    assert secret.last_used_at is not None
    page = connected.house.client(connected.house.token("view")).get(f"/deliveries/{row.id}").text
    assert "by the connection" in page
    assert connected.offers("all") == []


def test_a_call_that_comes_again_builds_nothing_again(connected: Connected) -> None:
    connected.source("widget")
    connected.push()
    connected.count -= 1
    again = connected.push()
    assert (again.status_code, again.json["state"]) == (200, "duplicate")
    assert connected.builds() == ["widget"]


def test_two_sources_of_one_repository_both_hear_of_it(connected: Connected) -> None:
    connected.source("widget")
    connected.source("widget-nightly", "ssh://git@ghe.example/acme/widget")
    answer = connected.push()
    assert (answer.status_code, len(answer.json["builds"])) == (202, 2)
    assert sorted(connected.builds()) == ["widget", "widget-nightly"]


def test_sources_are_held_in_the_order_of_ids_or_a_grant_and_a_hook_would_wait_for_each_other(
    connected: Connected,
) -> None:
    ids = [connected.source(name) for name in ("widget", "widget-nightly", "widget-lts")]
    told = Event(EventKind.PUSH, repository="acme/widget")
    with connected.house.database.read() as session:
        found = connections.targets(session, show.get_connection(session, "acme"), told)
        assert [source.id for source in found] == ids


@pytest.mark.parametrize(
    "url",
    ["https://elsewhere.example/acme/widget.git", "https://ghe.example/other/acme/widget.git"],
)
def test_a_source_of_the_same_name_elsewhere_hears_nothing(connected: Connected, url: str) -> None:
    connected.source("widget", url)
    assert connected.push().status_code == 200
    assert connected.builds() == []


def test_a_connection_speaks_of_no_repository_but_its_owner_s(connected: Connected) -> None:
    """Whoever knows the hook's secret signs whatever they like, and may be nobody elsewhere."""
    connected.source("gadget", "https://ghe.example/other/gadget.git")
    connected.source("acme-corp", "https://ghe.example/acme-corp/gadget.git")
    for repository in ("other/gadget", "acme-corp/gadget"):
        answer = connected.push(repository)
        assert (answer.status_code, answer.json["reason"]) == (200, "repository_unknown")
    assert connected.builds() == []
    assert connected.offers("all") == []


def test_what_a_connection_told_is_read_by_its_scm_whatever_the_source_s_is(connected: Connected) -> None:
    connected.source("widget", scm="generic")
    connected.push()
    client = connected.house.client(connected.house.token("build", "view"))
    (delivery,) = client.get("/api/v1/deliveries").json["items"]
    again = client.post(f"/api/v1/deliveries/{delivery['id']}/replay")
    assert (again.status_code, again.json["items"][0]["commit"]) == (201, delivery["commit"])


def test_a_wrong_signature_is_refused_and_noted(connected: Connected) -> None:
    connected.source("widget")
    assert connected.push(secret="somebody else's secret").status_code == 401
    with connected.house.database.read() as session:
        (row,), _ = list_deliveries(session)
    assert (row.source, row.reason) == ("acme", "signature_wrong")


def test_a_connection_is_no_source_and_shares_their_names(connected: Connected) -> None:
    with connected.house.database.begin() as session:
        assert show.list_sources(session) == []
        with pytest.raises(NotFound):
            show.get(session, "acme")
        with pytest.raises(Conflict, match="already"):
            connections.add_connection(
                session, "acme", "https://x.example/y", scm="gitlab", branches=[], tier="dev", actor="test"
            )
    healer = Healer(connected.house.database, connected.house.farm.settings, lambda _: {})
    assert not healer.look()


class Ghe(ForgeServer):
    """A GitHub whose organisation's hook is called when it is asked to."""

    def __init__(self, connected: Connected) -> None:
        super().__init__("github", "/api/v3")
        self.connected, self.calling = connected, "ping"
        self.judge = self._judge
        self._calls: list[threading.Thread] = []

    def close(self) -> None:
        super().close()
        for call in self._calls:
            call.join(30)

    def _judge(self, call: Call) -> Answer | None:
        if call.operation == "orgs/list-webhooks":
            return 200, {}, [one for key, one in self.made.items() if "/hooks/" in key]
        if call.operation == "orgs/ping-webhook":
            self._calls.append(threading.Thread(target=self._call))
            self._calls[-1].start()
        return None

    def _call(self) -> None:
        more = {"zen": "Design for failure.", "repository": {}} if self.calling == "ping" else {}
        self.connected.push(event=self.calling, **more)


@pytest.fixture
def ghe(connected: Connected) -> Iterator[Ghe]:
    server = Ghe(connected)
    with connected.house.database.begin() as session:
        connection = show.get_connection(session, "acme")
        access.set_access(session, connection, Given(server.token, server.url + "/api/v3"), actor="test")
    yield server
    server.close()


@pytest.mark.parametrize("calling", ["ping", "push"])
def test_the_hook_of_an_organisation_is_installed_called_and_looked_after(
    connected: Connected, ghe: Ghe, calling: str
) -> None:
    connected.source("widget")
    ghe.calling = calling  # some SCMs test a hook by a push of one of the repositories
    with connected.house.database.begin() as session:
        connection = show.get_connection(session, "acme")
        placed = orders.place(session, connection, Verb.REPAIR, actor="ada")
    with connected.house.database.begin() as session:
        task = session.scalars(select(Task).where(Task.kind == "hook")).one()
        claims.claim(session, Task, task.id, task.attempt)
    performer = Performer(connected.house.database, "http://farm.example", (task.id, task.attempt))
    performer.perform(placed.id)
    with connected.house.database.read() as session:
        done = orders.newest(session, connection.id)
    assert done is not None
    assert (done.good, done.error) == (True, None)
    (made,) = ghe.of("orgs/create-webhook")
    assert made.body["config"] | {"url": "http://farm.example/hooks/acme"} == made.body["config"]
    assert watch.start_looking(connected.house.database) == 1
    with connected.house.database.begin() as session:
        task = session.scalars(select(Task).where(Task.kind == "watch")).one()
        claims.claim(session, Task, task.id, task.attempt)
    Watcher(connected.house.database, "http://farm.example", (task.id, task.attempt)).look(connection.id)
    with connected.house.database.read() as session:
        found = watched(session, connection.id)
    assert found is not None
    assert (found.looked_at is not None, found.problem) == (True, None)
    assert ghe.wrong == []


@pytest.mark.usefixtures("ghe")
@pytest.mark.parametrize(
    ("code", "remedy"),
    [(None, "buildfarm connection hook repair acme"), ("forge.away", "The farm asks again by itself.")],
)
def test_what_is_wrong_with_the_hook_of_a_connection_comes_with_code_and_remedy(
    connected: Connected, code: str | None, remedy: str
) -> None:
    with connected.house.database.begin() as session:
        connection = show.get_connection(session, "acme")
        row = HookWatch(source_id=connection.id, next_at=clock.now(), looked_at=clock.now())
        row.problem, row.code = "It is not well.", code
        session.merge(row)
    page = connected.house.client(connected.house.token("view")).get("/connections/acme").text
    (notice,) = re.findall(r'<p class="notice warn">.*?</p>', page)
    assert "<strong>It is not well.</strong>" in notice
    assert remedy in notice
    assert (f"<code>{code}</code>" in notice) == bool(code)


def test_a_push_that_only_the_sweep_found_has_the_hook_of_the_connection_looked_at(
    connected: Connected, ghe: Ghe
) -> None:
    connected.source("widget")
    assert watch.start_looking(connected.house.database) == 1
    held = {"refs/heads/main": Held(commit="a" * 40)}
    healer = Healer(connected.house.database, connected.house.farm.settings, lambda _: held)

    def sweep() -> datetime:
        with connected.house.database.begin() as session:
            session.execute(update(Sighting).values(next_at=clock.now()))
        assert healer.look()
        with connected.house.database.read() as session:
            return session.scalars(select(HookWatch)).one().next_at

    assert sweep() > clock.now(), "what is there at first is history"
    held["refs/heads/main"] = Held(commit="b" * 40)
    assert sweep() <= clock.now()


@pytest.mark.parametrize("scm", ["github", "bitbucket-data-center", "bitbucket-cloud"])
@pytest.mark.parametrize("url", ["https://whole.example", "https://whole.example/"])
def test_an_scm_without_hooks_over_all_of_it_is_refused_as_a_whole(
    connected: Connected, scm: str, url: str
) -> None:
    with pytest.raises(InvalidInput, match="no hook that tells of all pushes") as caught:
        connected.connect("whole", url, scm)
    assert caught.value.code == "connection.whole_scm"


def test_a_hook_over_a_whole_scm_is_entered_by_hand(connected: Connected) -> None:
    connected.connect("whole", "https://gitlab.example", "gitlab")
    with (
        connected.house.database.begin() as session,
        pytest.raises(InvalidInput, match="not made by its API"),
    ):
        access.set_access(session, show.get_connection(session, "whole"), Given("t" * 20), actor="test")


def test_a_plain_git_server_has_no_owners(house: House) -> None:
    with house.database.begin() as session, pytest.raises(InvalidInput) as caught:
        connections.add_connection(
            session, "acme", "https://git.example/acme", scm=None, branches=[], tier="dev", actor="test"
        )
    assert caught.value.code == "connection.scm"
