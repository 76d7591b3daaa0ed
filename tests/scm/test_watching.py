"""Looks at hooks that nobody asked for: what is healed, what is said, and what the SCM is not asked twice."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from click.testing import CliRunner
from sqlalchemy import func, select, update

from buildfarm import clock
from buildfarm.cli.doctor import doctor
from buildfarm.farm import claims
from buildfarm.farm.model import Task
from buildfarm.scm import connect
from buildfarm.scm.answers.pause import paused
from buildfarm.scm.forges import access
from buildfarm.scm.forges.access import Given
from buildfarm.scm.forges.model import ForgeAccess
from buildfarm.scm.forges.port import WantedHook
from buildfarm.scm.hooking import watch
from buildfarm.scm.hooking.model import HookHealing, HookWatch
from buildfarm.scm.hooking.show import Watched, watched
from buildfarm.scm.hooking.watch import Watcher
from buildfarm.sources.model import Source
from tests.conftest import House
from tests.scm.forge_server import Answer, Call, ForgeServer
from workers import tasks

URL = "http://farm.example/hooks/widget"
APIS = {"github": "/api/v3", "gitlab": ""}


class Watch:
    """A source whose SCM is a server, with the farm's hook in it."""

    def __init__(self, house: House, kind: str) -> None:
        self.house, self.server = house, ForgeServer(kind, APIS[kind])
        self.deliveries: list[dict[str, object]] = []
        self.server.judge = self._judge
        with house.database.begin() as session:
            source, _ = connect.add_source(
                session, "widget", "https://scm.example/acme/widget.git", scm=kind, branches=[], tier="dev",
                allow_file=False, actor="test",
            )  # fmt: skip
            access.set_access(session, source, Given(self.server.token, self.api), actor="test")
            self.source_id = source.id
        with house.database.begin() as session:
            source = session.get_one(Source, self.source_id)
            with access.opened(access.opening(session, source)) as forge:
                hook = forge.create_hook(WantedHook(URL, "s" * 20))
            session.get_one(ForgeAccess, self.source_id).hook_id = hook.id
        self.hook = next(one for key, one in self.server.made.items() if "/hooks/" in key)
        # A new hook of GitHub has had no call; the description's example had one that failed.
        self.hook["last_response"] = {"code": None, "status": "unused", "message": None}

    @property
    def api(self) -> str:
        return self.server.url + APIS[self.server.description]

    def _judge(self, call: Call) -> Answer | None:
        if call.operation in {"repos/list-webhook-deliveries", "listHookEvents"}:
            return 200, {}, self.deliveries
        if call.operation in {"repos/list-webhooks", "listHooks"}:
            return 200, {}, [one for key, one in self.server.made.items() if "/hooks/" in key]
        return None

    def fail(self, *numbers: int) -> None:
        """Calls that the farm did not take, an hour ago."""
        at = clock.iso_seconds(clock.now() - timedelta(hours=1))
        if self.server.description == "github":
            made = [
                {
                    "id": n,
                    "guid": f"guid-{n}",
                    "delivered_at": at,
                    "status_code": 502,
                    "status": "Bad",
                    "event": "push",
                }
                for n in numbers
            ]
        else:
            made = [
                {
                    "id": n, "created_at": at, "response_status": "500", "trigger": "push_hooks",
                    "request_headers": {"Idempotency-Key": f"key-{n}"},
                }
                for n in numbers
            ]  # fmt: skip
        self.deliveries = [*made, *self.deliveries]

    def look(self) -> Watched:
        """Let the turn come, the task be made and done; what is shown then."""
        with self.house.database.begin() as session:
            session.execute(update(HookWatch).values(next_at=clock.now()))
        assert watch.start_looking(self.house.database) == 1
        with self.house.database.begin() as session:
            task = session.scalars(select(Task).where(Task.kind == "watch", Task.state == "queued")).one()
            assert (task.subject, task.queue) == (self.source_id, "notify")
            claims.claim(session, Task, task.id, task.attempt)
        Watcher(self.house.database, "http://farm.example", (task.id, task.attempt)).look(self.source_id)
        with self.house.database.read() as session:
            assert session.get_one(Task, task.id).state == "succeeded"
            found = watched(session, self.source_id)
        assert found is not None
        return found

    def sent_again(self) -> list[str]:
        return [
            one.path.split("/")[-2]
            for one in self.server.calls
            if one.path.endswith(("/attempts", "/resend"))
        ]

    def page(self) -> str:
        client = self.house.client(self.house.token("admin"))
        return client.get("/sources/widget", headers={"Accept": "text/html"}).text


@pytest.fixture(params=list(APIS))
def each_scm(each_house: House, request: pytest.FixtureRequest) -> Iterator[Watch]:
    made = Watch(each_house, request.param)
    yield made
    made.server.close()


@pytest.fixture
def gitlab(each_house: House) -> Iterator[Watch]:
    made = Watch(each_house, "gitlab")
    yield made
    made.server.close()


@pytest.fixture
def github(each_house: House) -> Iterator[Watch]:
    made = Watch(each_house, "github")
    yield made
    made.server.close()


def test_a_hook_that_is_well_is_left_alone_until_its_next_turn(each_scm: Watch) -> None:
    found = each_scm.look()
    assert (found.problem, found.healed) == (None, ())
    assert found.looked_at is not None
    assert watch.start_looking(each_scm.house.database) == 0
    assert "The farm looked at it by itself" in each_scm.page()
    assert each_scm.server.wrong == []


def test_failed_deliveries_are_sent_again_once_each_and_that_is_shown(each_scm: Watch) -> None:
    each_scm.fail(1, 2, 3)
    (healed,) = each_scm.look().healed
    assert sorted(each_scm.sent_again()) == ["1", "2", "3"]
    assert (healed.sentence, healed.deliveries) == ("3 failed deliveries sent again by the SCM.", 3)
    assert healed.sentence in each_scm.page()
    each_scm.fail(4)
    assert each_scm.look().healed[0].sentence == "1 failed delivery sent again by the SCM."
    assert sorted(each_scm.sent_again()) == ["1", "2", "3", "4"]
    assert len(each_scm.look().healed) == 2
    assert each_scm.server.wrong == []


def test_what_one_look_may_not_ask_for_the_next_one_does_soon(github: Watch) -> None:
    github.fail(*range(1, 31))
    found = github.look()
    assert found.next_look_at is not None
    assert found.next_look_at - clock.now() < timedelta(minutes=2)
    assert len(github.sent_again()) == 20
    github.look()
    assert len(set(github.sent_again())) == 30


def test_a_delivery_that_the_scm_will_not_send_again_is_not_asked_for_for_ever(github: Watch) -> None:
    github.fail(1)
    calls = github.server.judge
    refused = []

    def judge(call: Call) -> Answer | None:
        if call.path.endswith("/attempts"):
            refused.append(call.path)
            return 422, {}, {"message": "Deliveries older than 3 days cannot be redelivered"}
        return calls(call)

    github.server.judge = judge
    github.look()
    assert github.look().problem is None
    assert len(refused) == 1


def test_a_hook_that_gitlab_stopped_is_set_going_by_a_test_call_and_that_is_shown(gitlab: Watch) -> None:
    gitlab.hook |= {"alert_status": "temporarily_disabled", "disabled_until": "2026-06-01T12:01:00Z"}
    calls = gitlab.server.judge

    def judge(call: Call) -> Answer | None:
        if call.operation == "testHook":
            gitlab.hook |= {"alert_status": "executable", "disabled_until": None}
        return calls(call)

    gitlab.server.judge = judge
    found = gitlab.look()
    assert found.problem is None
    assert [one.kind for one in found.healed] == ["resumed"]
    assert found.healed[0].sentence == (
        "The SCM had stopped calling the hook, and calls it again. "
        "(GitLab has switched it off until 2026-06-01T12:01:00Z.)"
    )
    assert "The SCM had stopped calling the hook" in gitlab.page()


def test_a_hook_that_stays_stopped_is_said(gitlab: Watch) -> None:
    gitlab.hook |= {"alert_status": "disabled", "disabled_until": None}
    calls = gitlab.server.judge

    def judge(call: Call) -> Answer | None:
        if call.operation == "testHook":
            return 422, {}, {"message": "Hook execution failed: execution expired"}
        return calls(call)

    gitlab.server.judge = judge
    found = gitlab.look()
    assert found.healed == ()
    assert "GitLab has switched it off." in (found.problem or "")
    assert "execution expired" in (found.problem or "")


def test_what_a_person_changed_is_said_by_page_api_and_doctor_and_left(
    github: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    github.hook["active"] = False
    told = "The hook is not as it should be. It is switched off."
    assert github.look().problem == told
    assert github.hook["active"] is False
    assert told in github.page()
    client = github.house.client(github.house.token("admin"))
    assert client.get("/api/v1/sources/widget/scm-hook").json["watched"]["problem"] == told
    settings = github.house.farm.settings
    monkeypatch.setenv("BUILDFARM_DATABASE", settings.database_url)
    said = CliRunner().invoke(doctor, ["--data", str(settings.data)])
    assert f"✗ hook of widget: {told}" in said.output
    github.hook["active"] = True
    assert github.look().problem is None


def test_a_hook_that_is_gone_is_said_and_one_that_was_never_made_is_not_missed(github: Watch) -> None:
    github.server.made.clear()
    assert github.look().problem == "The hook that the farm made is gone."
    with github.house.database.begin() as session:
        session.get_one(ForgeAccess, github.source_id).hook_id = None
    assert github.look().problem is None


def test_an_scm_that_is_away_or_was_asked_too_often_is_asked_later(github: Watch) -> None:
    github.server.before = lambda _method, _path: (502, {}, None)
    assert "The SCM is not well: it answered 502." in (github.look().problem or "")
    github.server.before = lambda _method, _path: (429, {"Retry-After": "600"}, {"message": "slow down"})
    github.look()
    with github.house.database.begin() as session:
        assert len(paused(session)) == 1
        session.execute(update(HookWatch).values(next_at=clock.now()))
    assert watch.start_looking(github.house.database) == 0
    assert "not told of builds" not in github.page()


def test_gitlab_before_17_3_has_no_log_of_calls_to_ask(gitlab: Watch) -> None:
    gitlab.server.before = lambda _method, path: (
        (404, {}, {"error": "404 Not Found"}) if "/events" in path else None
    )
    assert gitlab.look().problem is None


def test_without_a_token_nobody_looks(github: Watch) -> None:
    with github.house.database.begin() as session:
        access.remove_access(session, session.get_one(Source, github.source_id), actor="test")
    assert watch.start_looking(github.house.database) == 0
    with github.house.database.read() as session:
        assert watched(session, github.source_id) is None


def test_a_worker_does_what_the_keeper_queued(github: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    assert watch.start_looking(github.house.database) == 1
    with github.house.database.read() as session:
        task = session.scalars(select(Task).where(Task.kind == "watch")).one()
    monkeypatch.setattr(tasks, "own_farm", lambda: github.house.farm)
    tasks.run_task(task.id, task.attempt, 1)
    with github.house.database.read() as session:
        found = watched(session, github.source_id)
    assert found is not None
    assert found.looked_at is not None


def test_what_was_healed_long_ago_is_forgotten(github: Watch) -> None:
    github.fail(1)
    github.look()
    with github.house.database.begin() as session:
        session.execute(update(HookHealing).values(at=clock.now() - timedelta(days=40)))
    github.deliveries.clear()
    github.look()
    with github.house.database.read() as session:
        assert session.execute(select(func.count()).select_from(HookHealing)).scalar_one() == 0
