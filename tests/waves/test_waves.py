"""Waves over real parts: the door that builds read through, a signer, publishing, the index, promotion."""

from __future__ import annotations

import json

import pytest
from sqlalchemy import select

from buildfarm.farm.model import Build, Job
from buildfarm.journal.model import JournalRow
from buildfarm.waves import rules

pytestmark = pytest.mark.system
CORE = {"trigger": "project", "subject": "core"}
OLD, NEW = "middle-1.0-py3-none-any.whl", "middle-1.0-1-py3-none-any.whl"


@pytest.fixture
def chain(sea):
    """`top` was built with `middle`, that with an older `core` than there is; `alone` with nothing."""
    sea.release("core")
    sea.release("middle", reads=("core",))
    sea.release("top", reads=("middle",), requires=("middle>=1",))
    sea.release("alone")
    sea.release("core", "2.0")
    return sea


def opened(sea) -> str:
    return sea.api("POST", "/waves", 201, json=CORE)["id"]


def test_a_preview_says_what_in_which_order_and_why(chain) -> None:
    found = chain.api("POST", "/waves/preview", json=CORE)
    assert [(one["level"], one["project"], one["is_first"], one["why"]) for one in found["members"]] == [
        (1, "middle", True, "was built with core 1.0"),
        (2, "top", False, "needs middle"),
    ]
    assert (found["left_out"], found["cycles"]) == ([], [])
    assert found["seconds"] >= found["expected_seconds"] > 0
    assert chain.api("GET", "/waves")["items"] == []


def test_what_differs_carries_the_wave_on_and_is_promoted_as_one(chain) -> None:
    wave = opened(chain)
    assert chain.states(wave) == {"middle": "building", "top": "waiting"}
    assert chain.rebuild(wave, "middle", "core", code="x = 2\n") == ["core-2.0-py3-none-any.whl"]
    assert chain.states(wave) == {"middle": "rebuilt", "top": "building"}
    assert (chain.page(wave, "middle"), chain.page("dev", "middle")) == ([NEW], [OLD])
    refused = chain.api("POST", f"/waves/{wave}/promote", 409, json={})
    assert refused["code"] == "wave.running"

    assert chain.rebuild(wave, "top", "middle", code="x = 3\n") == [NEW]
    assert chain.api("GET", f"/waves/{wave}")["state"] == "ready"
    promoted = chain.api("POST", f"/waves/{wave}/promote", json={})
    assert (promoted["state"], len(promoted["promotions"])) == ("promoted", 2)
    assert chain.page("dev", "middle") == [NEW, OLD]
    assert (chain.live(wave), chain.page(wave, "middle")) == ([], [])
    refused = chain.api("POST", f"/promotions/{promoted['promotions'][0]}/undo", 409)
    assert refused["code"] == "promotion.of_set"

    assert chain.api("POST", f"/waves/{wave}/undo")["state"] == "ready"
    assert (chain.page("dev", "middle"), chain.page(wave, "middle")) == ([OLD], [NEW])
    assert chain.api("POST", f"/waves/{wave}/promote", json={})["state"] == "promoted"
    with chain.database.read() as session:
        rows = session.scalars(select(JournalRow).order_by(JournalRow.serial)).all()
        kinds = [row.kind for row in rows if row.kind.startswith("wave.")]
        assert kinds == ["wave.open", "wave.promote", "wave.undo", "wave.promote"]
        assert {json.loads(row.body)["wave"] for row in rows if row.kind in kinds} == {wave}
        built = session.scalars(
            select(Job).join(Build, Build.id == Job.build_id).where(Build.wave_id == wave)
        )
        assert {job.queue.rpartition(".")[2] for job in built} == {"background"}


def test_what_came_out_equal_ends_the_wave_there(chain) -> None:
    wave = opened(chain)
    chain.rebuild(wave, "middle", "core")
    assert chain.states(wave) == {"middle": "equal", "top": "unneeded"}
    assert (chain.live(wave), chain.page("dev", "middle")) == ([], [OLD])
    assert chain.house.state(chain.member(wave, "middle")["rebuild_id"]) == "compared"
    refused = chain.api("POST", f"/waves/{wave}/promote", 409, json={})
    assert refused["code"] == "promotion.nothing_new"
    assert chain.api("POST", f"/waves/{wave}/cancel")["state"] == "cancelled"
    assert chain.api("POST", f"/waves/{wave}/cancel", 409)["code"] == "wave.over"


def test_what_needs_a_failed_member_is_not_built(chain) -> None:
    chain.release("side", reads=("core",))
    chain.release("core", "3.0")
    wave = opened(chain)
    chain.rebuild(wave, "side", "core", code="x = 2\n")
    chain.rebuild(wave, "middle", "core", state="failed")
    assert chain.states(wave) == {"middle": "failed", "side": "rebuilt", "top": "skipped"}
    assert chain.member(wave, "top")["reason"] == "Not built, for middle failed."
    assert chain.api("POST", f"/waves/{wave}/promote", 409, json={})["code"] == "wave.failed"
    chain.api("POST", f"/waves/{wave}/promote", json={"partial": True})
    assert chain.page("dev", "side") == ["side-1.0-1-py3-none-any.whl", "side-1.0-py3-none-any.whl"]


def test_a_wave_has_no_more_builds_at_a_time_than_it_may(chain, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "AT_ONCE", 1)
    chain.release("side", reads=("core",))
    chain.release("core", "3.0")
    wave = opened(chain)
    assert chain.states(wave) == {"middle": "building", "side": "waiting", "top": "waiting"}
    chain.rebuild(wave, "middle", "core", code="x = 2\n")
    assert chain.states(wave) == {"middle": "rebuilt", "side": "building", "top": "waiting"}
    chain.rebuild(wave, "side", "core")
    assert chain.states(wave) == {"middle": "rebuilt", "side": "equal", "top": "building"}


def test_a_release_is_in_one_wave_at_a_time(chain) -> None:
    for project, version in (("middle", "1.0"), ("core", "2.0")):
        body = {"project": project, "version": version, "from": "dev", "to": "staging"}
        chain.api("POST", "/promotions", 201, json=body)
    first = opened(chain)
    refused = chain.api("POST", "/waves", 409, json=CORE | {"channel": "staging"})
    assert (refused["code"], refused["title"]) == (
        "wave.meets",
        f"{first} of the channel dev rebuilds middle 1.0 as well.",
    )
    chain.rebuild(first, "middle", "core", code="x = 2\n")
    chain.rebuild(first, "top", "middle")
    chain.api("POST", f"/waves/{first}/promote", json={})
    second = chain.api("POST", "/waves", 201, json=CORE | {"channel": "staging"})["id"]
    assert chain.api("POST", f"/waves/{first}/undo", 409)["code"] == "wave.meets"
    chain.api("POST", f"/waves/{second}/cancel")
    assert chain.api("POST", f"/waves/{first}/undo")["state"] == "ready"


def test_what_is_built_when_its_wave_is_cancelled_is_not_published(chain) -> None:
    wave = opened(chain)
    build_id = chain.member(wave, "middle")["rebuild_id"]
    token = chain.house.claim(chain.plan(build_id))
    chain.house.artifact(token, *chain.house.wheel("middle", number=1, code="x = 2\n"))
    chain.house.finish(token)
    chain.api("POST", f"/waves/{wave}/cancel")
    chain.control_work()
    assert (chain.house.state(build_id), chain.live(wave)) == ("failed", [])
    assert chain.api("GET", f"/builds/{build_id}")["first_error"] == "The candidate wave-1 is closed."


def test_a_cancelled_wave_leaves_nothing(chain) -> None:
    wave = opened(chain)
    assert chain.api("POST", "/waves", 409, json=CORE)["code"] == "wave.open"
    chain.rebuild(wave, "middle", "core", code="x = 2\n")
    running = chain.member(wave, "top")["rebuild_id"]
    assert chain.api("POST", f"/waves/{wave}/cancel")["state"] == "cancelled"
    assert chain.states(wave) == {"middle": "rebuilt", "top": "cancelled"}
    assert (chain.house.state(running), chain.page(wave, "middle")) == ("cancelled", [])
    assert chain.api("POST", f"/waves/{wave}/promote", 409, json={})["code"] == "wave.over"
    second = opened(chain)
    assert (second, chain.states(second)["middle"]) == ("wave-2", "building")
    # The number of the first wave's file is not given again.
    chain.rebuild(second, "middle", "core", code="x = 4\n")
    assert chain.page(second, "middle") == ["middle-1.0-2-py3-none-any.whl"]


def test_a_wave_is_not_undone_while_another_one_of_its_channel_is_under_way(chain) -> None:
    first = opened(chain)
    chain.rebuild(first, "middle", "core", code="x = 2\n")
    chain.rebuild(first, "top", "middle", code="x = 2\n")
    assert chain.api("POST", f"/waves/{first}/promote", json={})["state"] == "promoted"
    chain.release("core", "3.0")
    second = opened(chain)
    assert chain.api("POST", f"/waves/{first}/undo", 409)["code"] == "wave.open"
    chain.api("POST", f"/waves/{second}/cancel")
    assert chain.api("POST", f"/waves/{first}/undo")["state"] == "ready"
