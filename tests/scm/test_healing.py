"""The sweep over real repositories: what was pushed and never built is built, and nothing else is."""

from __future__ import annotations

import threading
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy import select, update

from buildfarm import clock
from buildfarm.errors import ExternalFailure
from buildfarm.farm import builds
from buildfarm.farm.model import Build, Task
from buildfarm.farm.rules import State
from buildfarm.scm import connect
from buildfarm.scm.healing import Healer
from buildfarm.scm.instep import steps_of
from buildfarm.scm.model import Delivery, DeliveryEvent, Sighting
from buildfarm.scm.show import list_deliveries
from buildfarm.sources.contract import Credential
from buildfarm.sources.credentials import set_credential
from buildfarm.sources.fetcher import list_refs
from buildfarm.sources.model import Source
from buildfarm.sources.show import source_detail
from tests.conftest import House
from tests.sources.conftest import Upstream
from tests.sources.githttp import GitServer

pytestmark = pytest.mark.system  # each look starts a fetcher


class Swept:
    """A farm that follows a real repository."""

    def __init__(self, house: House, upstream: Upstream, branches: tuple[str, ...] = ("main",)) -> None:
        self.house, self.upstream = house, upstream
        settings = house.farm.settings.model_copy(update={"sources_allow_file": True})
        self.healer = Healer(house.database, settings)
        with house.database.begin() as session:
            source, self.secrets = connect.add_source(
                session, "widget", upstream.url, scm="generic", branches=list(branches), tier="dev",
                allow_file=True, actor="test",
            )  # fmt: skip
            self.source_id = source.id

    def sweep(self) -> list[str]:
        """Look now, whenever the turn is; the refs that builds were started of."""
        before = {build.id for build in self.builds()}
        with self.house.database.begin() as session:
            session.execute(update(Sighting).values(next_at=clock.now()))
        while self.healer.look():
            pass
        return [build.ref for build in self.builds() if build.id not in before]

    def builds(self) -> list[Build]:
        with self.house.database.read() as session:
            return list(session.scalars(select(Build).order_by(Build.number)))

    def start(self, ref: str, commit: str | None, *, state: State = State.QUEUED) -> str:
        with self.house.database.begin() as session:
            source = session.get_one(Source, self.source_id)
            build = builds.start(session, source, ref=ref, commit=commit, trigger="test", actor="ada")
            build.state = state
            return build.id

    def step(self):
        with self.house.database.read() as session:
            return steps_of(session, [self.source_id])[self.source_id]


@pytest.fixture
def upstream(tmp_path: Path) -> Upstream:
    repository = Upstream(tmp_path / "upstream")
    repository.commit("Begin", a="1\n")
    repository.git("tag", "v0.1")
    return repository


@pytest.fixture
def swept(each_house: House, upstream: Upstream) -> Swept:
    return Swept(each_house, upstream)


def test_the_first_look_notes_what_is_there_and_builds_nothing(swept: Swept) -> None:
    assert swept.step().in_step_at is None
    assert swept.sweep() == []
    assert swept.step().in_step_at is not None
    assert swept.sweep() == []


def test_the_newest_head_of_a_branch_is_built_and_the_ledger_tells(swept: Swept) -> None:
    swept.sweep()
    for number in range(3):
        head = swept.upstream.commit(f"Change {number}", a=f"{number}\n")
    assert swept.sweep() == ["refs/heads/main"]
    (build,) = swept.builds()
    assert (build.commit, build.trigger, build.state) == (head, "sweep", "queued")
    with swept.house.database.read() as session:
        (row,), _ = list_deliveries(session)
        (task,) = session.scalars(select(Task))
    assert (row.id, row.state, row.reason, row.kind) == (
        build.delivery_id,
        "accepted",
        "found_by_sweep",
        "push",
    )
    assert row.sentence.startswith("Found by sweep")
    assert (task.kind, task.subject) == ("fetch", build.id)
    assert swept.sweep() == []


def test_more_than_three_tags_at_once_are_all_built(swept: Swept) -> None:
    swept.sweep()
    commit = swept.upstream.commit("Release", a="2\n")
    for number in range(5):
        swept.upstream.git("tag", "--annotate", "--message=x", f"v1.{number}")
    found = swept.sweep()
    assert sorted(found) == ["refs/heads/main", *(f"refs/tags/v1.{number}" for number in range(5))]
    assert {build.commit for build in swept.builds()} == {commit}


def test_branches_that_are_not_followed_and_refs_that_are_gone_are_left_alone(swept: Swept) -> None:
    swept.sweep()
    swept.upstream.git("branch", "topic")
    swept.upstream.git("checkout", "--quiet", "topic")
    swept.upstream.commit("On a topic", b="1\n")
    swept.upstream.git("tag", "--delete", "v0.1")
    assert swept.sweep() == []


@pytest.mark.parametrize("state", [State.QUEUED, State.FAILED, State.PUBLISHED, State.CANCELLED])
def test_what_was_built_is_not_built_again_whatever_came_of_it(swept: Swept, state: State) -> None:
    swept.sweep()
    head = swept.upstream.commit("Change", a="2\n")
    swept.start("refs/heads/main", head, state=state)
    assert swept.sweep() == []


def test_an_annotated_tag_that_a_hook_announced_by_its_own_id_is_being_built(swept: Swept) -> None:
    swept.sweep()
    swept.upstream.git("tag", "--annotate", "--message=x", "v1.0")
    swept.start("refs/tags/v1.0", swept.upstream.git("rev-parse", "refs/tags/v1.0"), state=State.FAILED)
    assert swept.sweep() == []


def test_a_ref_that_is_being_fetched_is_awaited_and_one_that_never_was_is_built(swept: Swept) -> None:
    swept.sweep()
    swept.upstream.commit("Change", a="2\n")
    awaited = swept.start("refs/heads/main", None)
    assert swept.sweep() == []
    with swept.house.database.begin() as session:
        session.get_one(Build, awaited).state = State.FAILED
    assert swept.sweep() == ["refs/heads/main"]


def test_a_head_that_gave_way_to_a_late_delivery_of_an_older_push_is_built_again(swept: Swept) -> None:
    swept.sweep()
    head = swept.upstream.commit("Newest", a="2\n")
    assert swept.sweep() == ["refs/heads/main"]
    with swept.house.database.begin() as session:
        source = session.get_one(Source, swept.source_id)
        late = builds.start(
            session, source, ref="refs/heads/main", commit="1" * 40, trigger="test", actor=None
        )
        builds.supersede(session, late, {})
    assert [build.state for build in swept.builds()] == ["cancelled", "queued"]
    assert swept.sweep() == ["refs/heads/main"]
    assert [(build.commit, build.state) for build in swept.builds()][1:] == [
        ("1" * 40, "cancelled"),
        (head, "queued"),
    ]


@pytest.mark.parametrize("reason", ["skip_requested", "ref_not_followed"])
def test_the_verdict_of_a_delivery_stays_what_it_was(swept: Swept, reason: str) -> None:
    swept.sweep()
    head = swept.upstream.commit("Change [skip ci]", a="2\n")
    with swept.house.database.begin() as session:
        session.add(
            Delivery(
                id="dlv_skip", source_id=swept.source_id, scm="generic", received_at=clock.now(),
                state="ignored", reason=reason, kind="push", ref="refs/heads/main", commit=head,
                headers={}, body_sha256="", steps=[],
                events=[
                    DeliveryEvent(
                        source_id=swept.source_id, position=0, kind="push", ref="refs/heads/main",
                        commit=head, reason=reason,
                    )
                ],
            )
        )  # fmt: skip
    assert swept.sweep() == []


def test_a_repository_that_is_away_is_asked_less_often_and_that_is_said(swept: Swept, tmp_path: Path) -> None:
    swept.sweep()
    in_step = swept.step().in_step_at
    away = swept.upstream.path.rename(tmp_path / "away")
    pauses = []
    for _ in range(5):
        swept.sweep()
        pauses.append((swept.step().next_look_at - clock.now()).total_seconds())
    step = swept.step()
    assert step.in_step_at == in_step
    assert "no git repository" in step.problem
    interval = swept.house.farm.settings.timing.sweep_s
    for pause, most in zip(pauses, (2, 4, 8, 8, 8), strict=True):
        assert 0.7 * most * interval < pause <= most * interval
    away.rename(swept.upstream.path)
    head = swept.upstream.commit("After the outage", a="2\n")
    assert swept.sweep() == ["refs/heads/main"]
    assert swept.builds()[-1].commit == head
    assert (swept.step().problem, swept.step().in_step_at > in_step) == (None, True)
    assert (swept.step().next_look_at - clock.now()).total_seconds() <= interval


def test_a_private_repository_is_asked_with_the_credential_of_its_source(
    swept: Swept, tmp_path: Path
) -> None:
    with GitServer(tmp_path) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        server.password = "canary"
        with swept.house.database.begin() as session:
            source = session.get_one(Source, swept.source_id)
            source.url = server.url
        swept.sweep()
        assert "asks for credentials" in swept.step().problem
        with swept.house.database.begin() as session:
            given = Credential(username="robot", password=SecretStr("canary"))
            set_credential(session, session.get_one(Source, swept.source_id), given, actor="test")
        swept.sweep()
        server.shutdown()
        thread.join()
    assert swept.step().problem is None
    with swept.house.database.read() as session:
        assert source_detail(session, "widget").credential.last_used_at is not None


def test_a_turn_is_taken_once_and_removed_sources_have_none(swept: Swept) -> None:
    asked = []

    def ask(request):
        asked.append(request.url)
        assert not swept.healer.look(), "another one that looks meanwhile finds nothing due"
        return {}

    healer = Healer(swept.house.database, swept.healer.settings, ask)
    assert healer.look()
    assert asked == [swept.upstream.url]
    with swept.house.database.begin() as session:
        connect.remove_source(session, session.get_one(Source, swept.source_id), actor="test")
        session.execute(update(Sighting).values(next_at=clock.now() - timedelta(days=1)))
    assert not healer.look()


@pytest.mark.parametrize("change", ["moved", "removed"])
def test_what_an_answer_told_of_another_repository_is_not_taken(swept: Swept, change: str) -> None:
    swept.sweep()
    swept.upstream.git("tag", "v9.9")

    def ask(request):
        with swept.house.database.begin() as session:
            source = session.get_one(Source, swept.source_id)
            if change == "moved":
                url = source.url.replace("upstream", "elsewhere")
                connect.move_source(session, source, url, allow_file=True, actor="test")
            else:
                connect.remove_source(session, source, actor="test")
        return list_refs(request)

    with swept.house.database.begin() as session:
        session.execute(update(Sighting).values(next_at=clock.now()))
    assert Healer(swept.house.database, swept.healer.settings, ask).look()
    assert swept.builds() == []
    assert swept.step().in_step_at is None or change == "removed"


def test_who_takes_the_old_name_of_a_repository_that_moved_is_not_built(swept: Swept) -> None:
    swept.sweep()
    with swept.house.database.begin() as session:
        session.get_one(Source, swept.source_id).moved_to = "acme/widget-2"
    swept.upstream.commit("Somebody else's", a="2\n")
    swept.upstream.git("tag", "v9.9")
    assert swept.sweep() == []
    assert swept.step().problem == (
        "The SCM says that this repository is now at acme/widget-2; its old name may be another's. "
        "Say where it is: `buildfarm source move widget URL`."
    )
    with swept.house.database.begin() as session:
        source = session.get_one(Source, swept.source_id)
        connect.move_source(session, source, source.url, allow_file=True, actor="test")
    assert swept.sweep() == [], "a first look"
    assert swept.step().problem is None
    swept.upstream.git("tag", "v9.10")
    assert swept.sweep() == ["refs/tags/v9.10"]


def test_a_failed_look_says_what_to_do(each_house: House, upstream: Upstream) -> None:
    swept = Swept(each_house, upstream)

    def refuse(_request):
        raise ExternalFailure("It is away.", code="source.unreachable", hint="Wait.")

    Healer(swept.house.database, swept.healer.settings, refuse).look()
    assert (swept.step().problem, swept.step().in_step_at) == ("It is away. Wait.", None)
