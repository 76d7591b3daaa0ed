"""Repositories that a connection tells of and no source listens to: looked at, offered, decided on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import select

from buildfarm.errors import Conflict, ExternalFailure
from buildfarm.farm.model import Task
from buildfarm.scm.forges import access
from buildfarm.scm.forges.access import Given
from buildfarm.scm.offered import offers
from buildfarm.sources import show
from buildfarm.sources.contract import Credential
from buildfarm.sources.credentials import set_credential, take_credential
from tests.scm.connected import CIBUILDWHEEL, PULL_REQUEST, WIDGET, Connected
from tests.sources.conftest import Upstream
from workers import tasks


def test_a_new_repository_with_a_recipe_is_offered_accepted_and_then_built(connected: Connected) -> None:
    answer = connected.push()
    assert (answer.status_code, answer.json["reason"]) == (200, "repository_unknown")
    assert connected.offers() == []
    (offer,) = connected.look({"pyproject.toml": CIBUILDWHEEL})
    assert (offer.state, offer.path, offer.suggested, offer.url) == (
        "offered",
        "acme/widget",
        "widget",
        WIDGET,
    )
    assert connected.fetched[0].ref == "refs/heads/main"
    client = connected.house.client(connected.house.token("admin"))
    page = client.get("/sources").text
    assert "Offered repositories" in page
    assert "acme/widget" in page
    made = client.post(f"/api/v1/offered-repositories/{offer.id}/accept", json={"projects": ["widget"]})
    assert (made.status_code, made.json["name"], made.json["projects"]) == (201, "widget", ["widget"])
    assert (made.json["branches"], made.json["tags"]) == (["main"], ["v*"])
    assert connected.offers() == []
    page = client.get("/sources/widget").text
    assert "a hook of its own is not needed" in page
    assert "No delivery has come so far" not in page
    assert connected.builds() == ["widget"]
    (build,) = client.get("/api/v1/builds").json["items"]
    assert (build["id"], build["ref"], build["trigger"]) == (made.json["build"], "refs/heads/main", "offer")
    assert made.json["build_url"].endswith(f"/builds/{build['id']}")
    assert (build["commit"], made.json["not_built"]) == (None, None)
    # What is pushed before the fetcher was there is what it finds.
    assert connected.push().json["reason"] == "already_built"


@pytest.mark.parametrize(
    ("ref", "projects", "code", "says"),
    [
        ("refs/heads/topic", ["widget"], "offer.ref_not_followed", "--ref refs/heads/topic"),
        ("refs/heads/$(id)", ["widget"], "offer.ref_not_followed", "--ref 'refs/heads/$(id)'"),
        ("refs/tags/v1", [], "offer.nothing_granted", "buildfarm source grant widget PROJECT"),
        ("refs/tags/v1", ["widget"], None, ""),
    ],
)
def test_what_was_pushed_is_built_where_it_is_followed_and_may_publish_and_else_it_is_said_why(
    connected: Connected, ref: str, projects: list[str], code: str | None, says: str
) -> None:
    connected.push(ref=ref)
    (offer,) = connected.look({"pyproject.toml": CIBUILDWHEEL})
    client = connected.house.client(connected.house.token("admin"))
    made = client.post(f"/api/v1/offered-repositories/{offer.id}/accept", json={"projects": projects}).json
    assert connected.builds() == ([] if code else ["widget"])
    assert made["code"] == code
    assert says in (made["not_built"] or "")
    page = client.get("/sources/widget", query_string={"pushed": ref}).text
    assert (f"<code>{code}</code>" in page) == bool(code)


def test_what_is_offered_is_built_of_the_last_push_that_its_source_will_follow(connected: Connected) -> None:
    connected.push(ref="refs/heads/topic")
    (offer,) = connected.look({"pyproject.toml": CIBUILDWHEEL})
    for ref in ("refs/heads/main", "refs/heads/topic"):
        connected.push(ref=ref)
    assert [(one.id, one.ref) for one in connected.offers()] == [(offer.id, "refs/heads/main")]


def test_the_connection_s_credential_goes_to_no_other_port_of_its_host(connected: Connected) -> None:
    answer = connected.push(url="https://ghe.example:8443/acme/widget.git")
    assert answer.json["reason"] == "repository_unknown"
    assert connected.offers("all") == []


@pytest.mark.parametrize(
    ("files", "state"),
    [
        ({"buildfarm.toml": "[targets]\nnative = true\n", "setup.py": ""}, "offered"),
        ({"pyproject.toml": "[tool.buildfarm.targets]\nnative = true\n"}, "offered"),
        ({"pyproject.toml": "[project]\nname = 'x'\n"}, "plain"),
        ({"setup.py": ""}, "plain"),
        ({}, "plain"),
        ({"buildfarm.toml": "not TOML at all ["}, "unreadable"),
        (ExternalFailure("It is away.", code="source.unreachable"), "unreadable"),
    ],
)
def test_only_a_recipe_that_somebody_wrote_is_offered(
    connected: Connected, files: dict[str, str] | Exception, state: str
) -> None:
    connected.push()
    (offer,) = connected.look(files)
    assert offer.state == state
    assert bool(offer.problem) == (state == "unreadable")
    assert not (connected.house.farm.settings.mirrors_dir / offer.id).exists()
    assert (offer.state == "offered") == bool(offer.recipes)


def test_a_recipe_that_comes_later_is_found_with_the_push_that_brings_it(connected: Connected) -> None:
    connected.push()
    connected.look({})
    assert connected.tasks() == []
    connected.push()
    (offer,) = connected.look({"pyproject.toml": CIBUILDWHEEL})
    assert offer.state == "offered"


def test_many_pushes_are_one_look(connected: Connected) -> None:
    for _ in range(3):
        connected.push()
    assert len(connected.tasks()) == 1


def test_what_is_dismissed_stays_so(connected: Connected) -> None:
    connected.push()
    (offer,) = connected.look({"pyproject.toml": CIBUILDWHEEL})
    client = connected.house.client(connected.house.token("admin"))
    assert (
        client.post(f"/api/v1/offered-repositories/{offer.id}/dismiss", json={}).json["state"] == "dismissed"
    )
    connected.push()
    assert (connected.offers(), connected.tasks()) == ([], [])


@pytest.mark.parametrize(
    ("repository", "url"),
    [
        ("acme/widget", "https://elsewhere.example/acme/widget.git"),
        ("acme/widget", "http://169.254.169.254/acme/widget.git"),
        ("evil/widget", "https://ghe.example/evil/widget.git"),
    ],
)
def test_a_repository_that_is_not_the_owners_is_not_looked_at(
    connected: Connected, repository: str, url: str
) -> None:
    connected.push(repository, url=url)
    assert (connected.tasks(), connected.offers("all")) == ([], [])


@pytest.mark.parametrize(
    ("event", "more"),
    [
        ("ping", {"zen": "Design for failure.", "ref": None}),
        ("push", {"deleted": True, "after": "0" * 40}),
        ("pull_request", PULL_REQUEST),
    ],
)
def test_what_is_no_push_offers_nothing(connected: Connected, event: str, more: dict[str, Any]) -> None:
    assert connected.push(event=event, **more).status_code == 200
    assert connected.offers("all") == []


def test_the_sources_that_come_of_it_have_what_the_connection_was_given(connected: Connected) -> None:
    with connected.house.database.begin() as session:
        connection = show.get_connection(session, "acme")
        access.set_access(session, connection, Given("t" * 20), actor="test")
        given = Credential(username="robot", password=SecretStr("canary"))
        set_credential(session, connection, given, actor="test")
    connected.push()
    (offer,) = connected.look({"pyproject.toml": CIBUILDWHEEL})
    assert connected.fetched[0].credential is not None
    with connected.house.database.begin() as session:
        source, _ = offers.accept(session, offer.id, name="other", allow_file=False, actor="test")
        opening = access.opening(session, source)
        credential = take_credential(session, source.id)
    assert (opening.repository, opening.token, opening.is_owner) == ("acme/widget", "t" * 20, False)
    assert credential is not None
    assert credential.username == "robot"
    with connected.house.database.begin() as session, pytest.raises(Conflict, match="is a source already"):
        offers.accept(session, offer.id, name="again", allow_file=False, actor="test")


def test_a_hook_over_a_whole_scm_takes_every_owner(connected: Connected) -> None:
    with connected.house.database.begin() as session:
        show.get_connection(session, "acme").url = "https://ghe.example"
    connected.push("evil/widget")
    (offer,) = connected.look({"pyproject.toml": CIBUILDWHEEL})
    assert offer.path == "evil/widget"


def test_what_a_removed_connection_offered_goes_with_it(connected: Connected) -> None:
    connected.source("widget")
    connected.push("acme/gadget")
    client = connected.house.client(connected.house.token("admin"))
    assert client.delete("/api/v1/connections/acme").status_code == 200
    assert connected.offers("all") == []
    assert connected.push().status_code == 401
    assert client.get("/api/v1/sources/widget").status_code == 200


def test_a_look_whose_connection_is_gone_ends(connected: Connected) -> None:
    connected.push()
    client = connected.house.client(connected.house.token("admin"))
    client.delete("/api/v1/connections/acme")
    assert connected.look({}) == []


@pytest.mark.system
def test_a_real_repository_is_looked_at_by_a_worker_and_its_fetcher(
    connected: Connected, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream = Upstream(tmp_path / "upstream")
    upstream.commit("Begin", **{"pyproject.toml": CIBUILDWHEEL})
    connected.push()
    (waiting,) = connected.offers("waiting")
    with connected.house.database.begin() as session:
        session.get_one(offers.OfferedRepository, waiting.id).url = upstream.url
        task = session.scalars(select(Task).where(Task.kind == "offer")).one()
    farm = connected.house.farm
    allowing = farm.settings.model_copy(update={"sources_allow_file": True})
    monkeypatch.setattr(tasks, "own_farm", lambda: replace(farm, settings=allowing))
    tasks.run_task(task.id, task.attempt, 1)
    (found,) = connected.offers()
    assert (found.problem, found.recipes) == (None, ("default",))
    assert not (farm.settings.mirrors_dir / waiting.id).exists()


def test_offers_come_page_by_page_and_one_is_found_by_its_url(connected: Connected) -> None:
    connected.connect("other", "https://ghe.example/other")
    for name in ("a", "b", "c", "b"):
        connected.push(f"acme/{name}")
    client = connected.house.client(connected.house.token("admin"))

    def ask(**query: Any) -> Any:
        return client.get("/api/v1/offered-repositories", query_string={"state": "all"} | query).json

    first = ask(limit=2)
    rest = ask(limit=2, before=first["next"])
    assert [one["path"] for one in (*first["items"], *rest["items"])] == ["acme/b", "acme/c", "acme/a"]
    assert rest["next"] is None
    (found,) = ask(url="https://ghe.example/acme/c.git")["items"]
    assert found["path"] == "acme/c"
    assert "acme/a" in client.get("/connections/acme").text
    assert "acme/a" not in client.get("/connections/other").text
