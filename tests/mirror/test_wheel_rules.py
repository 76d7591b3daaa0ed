"""Wheels that are built by rule, over a real farm and a stub of its upstream; the planner is the real one."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import select

from buildfarm import clock
from buildfarm.errors import Conflict, FarmError, InvalidInput, NotFound
from buildfarm.farm import builds
from buildfarm.farm.model import Build, Image, Job, Task
from buildfarm.farm.plan import Planner
from buildfarm.farm.rules import State
from buildfarm.index import guarded, names, wheel_rules
from buildfarm.index.model import Channel
from buildfarm.index.wheel_rules import Rounds
from buildfarm.journal.show import newest_rows
from buildfarm.mirror.guard_model import WheelRule
from buildfarm.mirror.model import UpstreamPage
from buildfarm.mirror.policy import parse
from workers import tasks

PLATFORM = "manylinux_2_28_x86_64"
OLD = "2020-01-01T00:00:00.000000Z"


def sdist(version: str) -> bytes:
    text = f"Metadata-Version: 2.2\nName: gadget\nVersion: {version}\n".encode()
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, body in (("PKG-INFO", text), ("pyproject.toml", b"[project]\n")):
            member = tarfile.TarInfo(f"gadget-{version}/{name}")
            member.size = len(body)
            archive.addfile(member, io.BytesIO(body))
    return gzip.compress(out.getvalue(), mtime=0)


def entry(filename: str, body: bytes = b"", **more: object) -> dict[str, object]:
    digest = hashlib.sha256(body).hexdigest()
    whole = {"filename": filename, "url": f"../../files/{filename}", "hashes": {"sha256": digest}}
    return whole | {"size": len(body), "upload-time": OLD} | more


def source(upstream, version: str, **more: object) -> dict[str, object]:
    body = sdist(version)
    upstream.put(f"/files/gadget-{version}.tar.gz", body)
    return entry(f"gadget-{version}.tar.gz", body, **more)


def wheel_of(version: str, tag: str) -> dict[str, object]:
    return entry(f"gadget-{version}-{tag}-{tag}-{PLATFORM}.whl")


@pytest.fixture
def house(open_house, upstream):
    house = open_house(mirror={"upstreams": [upstream.url + "/"], "timeout_s": 30})
    with house.database.begin() as session:
        for name, kind, parts in (("mirror", "mirror", []), ("all", "union", ["stable", "mirror"])):
            session.merge(Channel(name=name, kind=kind, rank=90, public=False, parts=parts, policy={}))
        for role in ("builder", "test"):
            session.add(image(role, ["cp312", "cp313"]))
    upstream.page("gadget", source(upstream, "1.0"), source(upstream, "1.1"), wheel_of("1.1", "cp312"))
    return house


def image(role: str, interpreters: list[str]) -> Image:
    number = len(interpreters) * 2 + (role == "test")
    return Image(
        image_id=f"sha256:{number:064x}", platform=PLATFORM, role=role, suite="el8",
        interpreters=interpreters, registered_at=clock.now(),
    )  # fmt: skip


def rule(**more: object) -> WheelRule:
    facts = {"name": "science", "channel": "all", "patterns": ["Gad*"], "newest": 5, "prereleases": False}
    facts |= {"daily": 20, "enabled": True, "actor": "ann", "changed_at": clock.now()}
    return WheelRule(**facts | more)


def make(house, **more: object) -> None:
    with house.database.begin() as session:
        wheel_rules.put(session, rule(**more))


def verdicts(house, **more: object) -> dict[str, object]:
    """By version: the targets' interpreters, or the sentence."""
    house.farm.upstream.pages.refresh("gadget")
    with house.database.read() as session:
        tried = wheel_rules.checked(session, rule(**more))
    found = house.farm.wheel_rules.verdicts(tried)
    return {one.version: one.why_not or {name.split("-")[0] for name in one.targets} for one in found}


def run(house) -> list[str]:
    """Let the rules build; the versions."""
    house.farm.wheel_rules.run()
    with house.database.read() as session:
        return [str(one.version) for one in session.scalars(select(Build).order_by(Build.number))]


def planned(house, version: str, number: int = 0) -> list[Job]:
    """Plan a build as a worker does; its jobs."""
    with house.database.begin() as session:
        query = select(Build).where(Build.version == version).order_by(Build.number)
        build = session.scalars(query).all()[number]
        task = session.scalars(select(Task).where(Task.subject == build.id)).one()
        task.state, task.attempt = State.RUNNING, 1
        build_id, task_id = build.id, task.id
    farm = house.farm
    planner = Planner(farm.database, farm.blobs, farm.settings, farm.upstream, farm.build_door)
    planner.run(build_id, (task_id, 1))
    with house.database.read() as session:
        return list(session.scalars(select(Job).where(Job.build_id == build_id).order_by(Job.target)))


def test_a_dry_run_says_what_would_be_built_and_builds_nothing(house) -> None:
    assert verdicts(house) == {"1.1": {"cp313"}, "1.0": {"cp312", "cp313"}}
    assert verdicts(house, newest=1) == {"1.1": {"cp313"}}
    assert verdicts(house, patterns=["widget"]) == {}
    with house.database.read() as session:
        assert not session.scalars(select(Build)).all()
        assert not session.scalars(select(WheelRule)).all()


@pytest.mark.parametrize("what", ["no version", "nowhere"])
def test_a_build_without_an_sdist_ends_with_that_class(house, upstream, monkeypatch, what: str) -> None:
    make(house)
    verdicts(house)
    run(house)
    client = house.client(house.token("admin"))
    with house.database.begin() as session:
        build_id = session.scalars(select(Build.id).where(Build.version == "1.0")).one()
        session.delete(session.get_one(UpstreamPage, "gadget"))  # as in a mirror that was begun anew
    del upstream.pages["/simple/gadget/"]
    if what == "no version":
        body = {"source": "upstream-sdists", "ref": "main"}
        build_id = client.post("/api/v1/builds", json=body).json["id"]
    with house.database.read() as session:
        task = session.scalars(select(Task).where(Task.subject == build_id)).one()
    monkeypatch.setattr(tasks, "own_farm", lambda: house.farm)
    tasks.run_task(task.id, task.attempt, 1)
    ended = client.get(f"/api/v1/builds/{build_id}").json
    assert (ended["state"], ended["failure_class"], ended["cause"]) == ("failed", "sdist", "user_code")
    sentence = "are of a project's version" if what == "no version" else "No upstream index knows gadget."
    assert sentence in ended["first_error"]


def test_missing_wheels_are_built_behind_all_other_work_and_nothing_else_is(house) -> None:
    make(house)
    verdicts(house)
    assert run(house) == ["1.1", "1.0"]
    served, missing = planned(house, "1.1")
    assert (served.state, served.first_error) == (State.SKIPPED, "Upstream has a wheel for it.")
    assert missing.target == f"cp313-{PLATFORM}"
    assert missing.queue == "build.manylinux-x86_64.untrusted.background"
    with house.database.read() as session:
        row = next(row for row in newest_rows(session, limit=9) if row.kind == "wheel-rule.build")
        build = session.scalars(select(Build).where(Build.version == "1.0")).one()
    assert (row.facts["rule"], row.facts["build"]) == ("science", build.id)
    assert (build.trigger, build.actor, build.channel) == ("rule", "science", "mirror")


def test_what_was_begun_or_failed_is_not_tried_again_but_a_new_target_is(house) -> None:
    make(house, newest=1)
    verdicts(house)
    assert run(house) == run(house) == ["1.1"]
    jobs = planned(house, "1.1")
    assert run(house) == ["1.1"]
    with house.database.begin() as session:
        builds.fail(session, jobs[0].build_id, InvalidInput("It breaks."))
    assert run(house) == ["1.1"]
    assert f"It was begun as {jobs[0].build_id}, which is failed." in str(verdicts(house)["1.1"])
    with house.database.begin() as session:
        for role in ("builder", "test"):
            session.add(image(role, ["cp311", "cp312", "cp313"]))
    assert verdicts(house, newest=1) == {"1.1": {"cp311"}}
    assert run(house) == ["1.1", "1.1"]
    states = {job.target.split("-")[0]: job.state for job in planned(house, "1.1", 1)}
    assert states == {"cp311": State.QUEUED, "cp312": State.SKIPPED, "cp313": State.SKIPPED}


def test_a_build_whose_last_wheel_came_from_upstream_meanwhile_is_called_off(house, upstream) -> None:
    make(house, newest=1)
    verdicts(house)
    assert run(house) == ["1.1"]
    wheels = [wheel_of("1.1", python) for python in ("cp312", "cp313")]
    upstream.page("gadget", source(upstream, "1.0"), source(upstream, "1.1"), *wheels)
    verdicts(house)
    assert [job.state for job in planned(house, "1.1")] == [State.SKIPPED, State.SKIPPED]
    with house.database.read() as session:
        build = session.scalars(select(Build)).one()
    assert build.state == State.CANCELLED
    assert build.first_error == "Every target has a wheel by now, or was tried; nothing is left to build."


def test_a_failed_build_can_be_asked_for_by_hand(house) -> None:
    make(house, newest=1)
    verdicts(house)
    run(house)
    with house.database.begin() as session:
        build = session.scalars(select(Build)).one()
        builds.fail(session, build.id, InvalidInput("It breaks."))
    again = house.farm.supplementer.request("all", "gadget", "1.1", actor="bob")
    assert again != build.id


def test_what_the_channel_does_not_serve_is_not_built(house) -> None:
    make(house)
    with house.database.begin() as session:
        guarded.set_policy(session, "mirror", parse('deny = ["gadget"]'), actor="t")
    assert not any(isinstance(one, set) for one in verdicts(house).values())
    assert run(house) == []


def test_what_the_validator_refused_is_not_built(house, upstream) -> None:
    upstream.put("/files/gadget-1.1.tar.gz", b"no archive")
    upstream.page("gadget", source(upstream, "1.0"), entry("gadget-1.1.tar.gz", b"no archive"))
    house.farm.upstream.pages.refresh("gadget")
    with pytest.raises(FarmError):
        house.farm.upstream.file("gadget", "gadget-1.1.tar.gz")
    assert "not a plain gzip stream" in str(verdicts(house)["1.1"])


def test_an_isolated_site_builds_what_is_here(house) -> None:
    verdicts(house)
    house.farm.upstream.file("gadget", "gadget-1.0.tar.gz")
    mirror = house.farm.settings.mirror.model_copy(update={"isolated": True})
    settings = house.farm.settings.model_copy(update={"mirror": mirror})
    with house.database.read() as session:
        tried = wheel_rules.checked(session, rule())
    found = replace(house.farm.wheel_rules, settings=settings).verdicts(tried)
    assert [one.why_not for one in found] == ["It is not here, and this site is isolated.", None]


def test_a_name_that_is_ours_is_not_built(house) -> None:
    make(house)
    verdicts(house)
    with house.database.begin() as session:
        names.add_local(session, "gadget", "gadget", actor="ann")
    assert run(house) == []


def test_yanked_releases_and_prereleases_do_not_count(house, upstream) -> None:
    upstream.page(
        "gadget", source(upstream, "1.0"), source(upstream, "1.1", yanked="bad"), source(upstream, "2.0rc1")
    )
    assert set(verdicts(house, newest=1)) == {"1.0"}
    assert set(verdicts(house, newest=1, prereleases=True)) == {"2.0rc1"}


def test_a_day_has_a_limit_and_the_next_day_goes_on(house, monkeypatch) -> None:
    make(house, daily=1)
    verdicts(house)
    assert run(house) == run(house) == ["1.1"]
    moment = clock.now() + timedelta(hours=25)
    monkeypatch.setattr(clock, "now", lambda: moment)
    assert run(house) == ["1.1", "1.0"]


def test_a_rule_that_is_off_or_removed_builds_nothing(house) -> None:
    make(house, enabled=False)
    verdicts(house)
    assert run(house) == []
    make(house)
    with house.database.begin() as session:
        wheel_rules.remove(session, "science", actor="ann")
    assert run(house) == []
    with house.database.begin() as session, pytest.raises(NotFound, match="no rule"):
        wheel_rules.remove(session, "science", actor="ann")
    with house.database.read() as session:
        kinds = [row.kind for row in newest_rows(session, limit=3)]
    assert kinds == ["wheel-rule.remove", "wheel-rule.set", "wheel-rule.set"]


def test_rounds_see_new_rules_and_changed_pages_and_lose_nothing_with_the_process(
    house, upstream, monkeypatch
) -> None:
    rounds = Rounds(house.farm.wheel_rules)
    verdicts(house)
    assert rounds.go() == 0
    moment = clock.now() + timedelta(minutes=5)
    monkeypatch.setattr(clock, "now", lambda: moment)
    assert rounds.go() == 0
    make(house, newest=1)  # of a page that has not changed since
    assert (rounds.go(), rounds.go()) == (1, 0)
    upstream.page("gadget", source(upstream, "1.2"))
    house.farm.upstream.pages.refresh("gadget")
    assert Rounds(house.farm.wheel_rules).go() == 1  # another keeper's first round
    assert rounds.go() == 0


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"name": "Big Rule"}, "wheel_rule.name"),
        ({"patterns": []}, "wheel_rule.pattern"),
        ({"patterns": ["a b"]}, "wheel_rule.pattern"),
        ({"newest": 0}, "wheel_rule.number"),
        ({"daily": 0}, "wheel_rule.number"),
    ],
)
def test_a_bad_rule_gets_one_sentence(house, more, code) -> None:
    with house.database.begin() as session, pytest.raises(InvalidInput) as refused:
        wheel_rules.put(session, rule(**more))
    assert refused.value.code == code


def test_a_rule_needs_a_channel_that_shows_upstream(house) -> None:
    with house.database.begin() as session, pytest.raises(Conflict, match="nothing of upstream"):
        wheel_rules.put(session, rule(channel="stable"))
