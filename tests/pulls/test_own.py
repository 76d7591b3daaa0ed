"""Pull requests of a repository's own branches: each has a stage of its own while it is open."""

from __future__ import annotations

from datetime import timedelta

import pytest

from buildfarm import clock
from buildfarm.index.model import Channel, File, Release, StageFile
from buildfarm.sources.model import Source
from tests.pulls.conftest import Requests, follow, in_session, wheel

pytestmark = pytest.mark.system  # each build starts a fetcher and a validator


def test_a_pull_request_is_built_into_a_stage_that_goes_with_it(each_requests: Requests) -> None:
    requests = each_requests
    name, data = wheel()
    build = requests.build(requests.built(17, (name, data)))
    assert (build.state, build.first_error) == ("published", None)
    assert (build.ref, build.commit, build.channel) == (
        "refs/pull/17/head",
        requests.heads[17],
        "pr-widget-17",
    )
    assert requests.page("pr-widget-17") == [name]
    assert requests.index(f"/pr-widget-17/files/widget/{name}", "read:dev").data == data
    assert requests.index("/pr-widget-17/simple/", "read:dev").json["projects"] == [{"name": "widget"}]
    assert requests.page("dev") == requests.page("all") == []
    assert in_session(requests, File) == in_session(requests, Release) == []
    (told,) = requests.journal("stage.publish")
    assert (told["stage"], told["build"], told["commit"]) == ("pr-widget-17", build.id, requests.heads[17])
    assert (told["is_fork"], told["approved_by"]) == (False, None)

    assert requests.tell(17, "closed")["reason"] == "pull_request_closed"
    assert requests.round() == 1
    assert requests.index("/pr-widget-17/simple/widget/", "admin").status_code == 404
    assert requests.index(f"/pr-widget-17/files/widget/{name}", "admin").status_code == 404
    assert in_session(requests, StageFile) == []
    assert not (requests.house.tree.root / "pr-widget-17").exists()
    assert [row["stage"] for row in requests.journal("stage.end")] == ["pr-widget-17"]
    assert requests.round() == 0


def test_a_later_commit_replaces_the_earlier_one_whatever_it_is_called(requests: Requests) -> None:
    old = wheel(version="1.0+topic"), wheel(version="1.0+topic", tag="py2-none-any")
    requests.built(17, *old)
    before = requests.index(f"/pr-widget-17/files/widget/{old[0][0]}", "admin").headers["ETag"]
    first = requests.index("/pr-widget-17/simple/widget/", "admin")
    requests.push(17, rim="rounder\n")
    (build,) = requests.tell(17, "synchronize")["builds"]
    other = wheel(version="1.0+topic", code="x = 2\n")
    assert requests.do(build["id"], other).state == "published"
    assert requests.page("pr-widget-17") == [other[0]]
    assert requests.index(f"/pr-widget-17/files/widget/{other[0]}", "admin").data == other[1]
    second = requests.index("/pr-widget-17/simple/widget/", "admin")
    assert first.headers["ETag"] != second.headers["ETag"]
    file = requests.index(f"/pr-widget-17/files/widget/{other[0]}", "admin")
    assert "max-age=0" in file.headers["Cache-Control"], "no client may keep the bytes of before"
    assert file.headers["ETag"] != before


def test_two_requests_and_a_release_may_give_one_name_to_different_bytes(requests: Requests) -> None:
    for number, code in ((1, "x = 1\n"), (2, "x = 2\n")):
        requests.built(number, wheel(code=code))
    shown = [requests.index(f"/pr-widget-{one}/simple/widget/", "admin").json["files"][0] for one in (1, 2)]
    assert shown[0]["filename"] == shown[1]["filename"]
    assert shown[0]["hashes"] != shown[1]["hashes"]
    assert in_session(requests, File) == []


def test_newer_commits_supersede_older_ones_of_the_same_request_alone(requests: Requests) -> None:
    other, first = requests.opened(1), requests.opened(2)
    requests.push(2, rim="rounder\n")
    (second,) = requests.tell(2, "synchronize")["builds"]
    assert requests.build(first).superseded_by == second["id"]
    assert "pull request" in (requests.build(first).first_error or "")
    assert requests.build(other).state == "queued"


def test_a_closed_request_ends_its_builds_and_takes_no_more_files(each_requests: Requests) -> None:
    requests = each_requests
    waiting = requests.opened(1)
    publishing = requests.opened(2)
    requests.work()
    for job in requests.jobs(publishing):
        requests.make(job.id, wheel())
    requests.tell(1, "closed")
    requests.tell(2, "closed")
    assert requests.build(waiting).state == "cancelled"
    assert "The pull request is over." in (requests.build(waiting).first_error or "")
    requests.work()
    assert requests.build(publishing).state == "failed"
    assert "is over" in (requests.build(publishing).first_error or "")
    assert in_session(requests, StageFile) == []
    assert [row.name for row in in_session(requests, Channel) if row.kind == "stage"] == []


def test_a_request_that_is_opened_again_is_built_again_and_a_late_word_is_not(requests: Requests) -> None:
    requests.built(17, wheel())
    requests.tell(17, "closed")
    requests.round()
    assert requests.tell(17, "synchronize")["reason"] == "pull_request_closed"
    (build,) = requests.tell(17, "reopened")["builds"]
    assert requests.do(build["id"]).state == "published"  # equal input: the files of before
    assert requests.page("pr-widget-17") == [wheel()[0]]
    assert requests.tell(17, "reopened")["reason"] == "already_built"


def test_a_stage_ends_some_days_after_its_last_file(requests: Requests, monkeypatch) -> None:
    requests.built(17, wheel())
    now = clock.now()
    monkeypatch.setattr(clock, "now", lambda: now + timedelta(days=13.9))
    assert requests.round() == 0
    requests.push(17, rim="rounder\n")
    (build,) = requests.tell(17, "synchronize")["builds"]
    requests.do(build["id"], wheel(version="1.1+topic"))
    monkeypatch.setattr(clock, "now", lambda: now + timedelta(days=27))
    assert requests.round() == 0
    monkeypatch.setattr(clock, "now", lambda: now + timedelta(days=28))
    assert requests.round() == 1
    assert requests.page("pr-widget-17") == []


def test_other_names_are_answered_as_the_first_channel_and_upstream_do(requests: Requests) -> None:
    requests.built(17, wheel())
    with requests.house.database.read() as session:
        stage = session.get_one(Channel, "pr-widget-17")
    assert stage.parts == ["dev", "mirror"]
    answer = requests.index("/pr-widget-17/simple/gadget/", "admin")
    assert answer.status_code == 503, "upstream is asked, and away"


def test_whoever_may_read_the_first_channel_may_read_a_stage(requests: Requests) -> None:
    requests.built(17, wheel())
    path = "/pr-widget-17/simple/widget/"
    assert requests.index(path).status_code == 401
    assert requests.index(path, "read:stable").status_code == 403
    assert requests.index(path, "read:pr-widget-17").status_code == 403
    for scope in ("read:dev", "read:*", "admin"):
        assert requests.index(path, scope).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("POST", "/channels", {"name": "pr-mine"}, 400, "channel.name"),
        ("POST", "/channels", {"name": "x", "kind": "stage"}, 400, "channel.kind"),
        (
            "POST",
            "/channels",
            {"name": "x", "kind": "union", "parts": ["pr-widget-17"]},
            400,
            "channel.parts",
        ),
        ("PATCH", "/channels/pr-widget-17", {"public": True}, 409, "channel.of_farm"),
        ("PUT", "/sources/widget/reads", {"channels": ["pr-widget-17"]}, 400, "channel.not_durable"),
    ],
)
def test_nobody_makes_or_changes_or_joins_a_stage(
    requests: Requests, method: str, path: str, body: dict[str, object], status: int, code: str
) -> None:
    requests.built(17, wheel())
    assert requests.api(method, path, status, json=body)["code"] == code
    assert "pr-widget-17" not in [one["name"] for one in requests.api("GET", "/channels")["items"]]


def test_what_a_request_made_is_no_release(requests: Requests) -> None:
    build_id = requests.built(17, wheel())
    for verb, body in (("rebuild", {}), ("compare", None)):
        refused = requests.api("POST", f"/builds/{build_id}/{verb}", 409, json=body)
        assert refused["code"] in {"rebuild.pull_request", "comparison.not_built"}
    asked = {"project": "widget", "version": "1.0+topic", "from": "pr-widget-17", "to": "stable"}
    assert requests.api("POST", "/promotions", 404, json=asked)["code"] == "release.unknown"


def test_a_request_claims_no_name(requests: Requests) -> None:
    build = requests.build(requests.built(17, wheel("gadget")))
    assert (build.state, build.failure_class) == ("failed", "name")
    assert in_session(requests, StageFile) == []


def test_the_end_of_another_repository_s_request_ends_none_of_ours(requests: Requests) -> None:
    requests.built(17, wheel())
    told = requests.tell(17, "closed", repository="acme/other")
    assert told["reason"] == "other_repository"
    assert requests.round() == 0
    assert requests.page("pr-widget-17") == [wheel()[0]]


@pytest.mark.parametrize(
    ("tier", "jobs_tier"), [("release", "dev"), ("dev", "dev"), ("untrusted", "untrusted")]
)
def test_what_nobody_merged_is_built_where_no_release_is(
    requests: Requests, tier: str, jobs_tier: str
) -> None:
    with requests.house.database.begin() as session:
        session.get_one(Source, requests.source_id).tier = tier
    build_id = requests.opened(17)
    requests.work()
    assert [job.queue.split(".")[2] for job in requests.jobs(build_id)] == [jobs_tier]


def test_a_source_that_builds_no_requests_notes_them(requests: Requests) -> None:
    follow(requests, "none")
    requests.push(17)
    assert requests.tell(17, "opened")["reason"] == "pull_request_not_built"
    assert requests.api("GET", "/sources/widget")["pull_requests"] == "none"


def test_what_came_before_the_source_built_requests_is_replayed_once_it_does(requests: Requests) -> None:
    follow(requests, "none")
    requests.push(17)
    told = requests.tell(17, "opened")
    follow(requests, "own")
    (build,) = requests.api("POST", f"/deliveries/{told['delivery']}/replay", 201)["items"]
    assert requests.do(build["id"], wheel()).channel == "pr-widget-17"


def test_a_removed_source_takes_its_stages_along(requests: Requests) -> None:
    requests.built(17, wheel())
    requests.api("DELETE", "/sources/widget")
    assert requests.round() == 1
    assert requests.page("pr-widget-17") == []


def test_building_again_goes_to_the_stage_and_so_does_a_replay(requests: Requests) -> None:
    first = requests.built(17, wheel())
    delivery = requests.build(first).delivery_id
    (again,) = requests.api("POST", f"/deliveries/{delivery}/replay", 201)["items"]
    assert requests.build(again["id"]).channel == "pr-widget-17"
    assert requests.do(again["id"]).state == "published"
    assert requests.page("dev") == []


@pytest.mark.parametrize("asked", ["%2317", "!17", "pull/17", "pull/17/head", "refs/pull/17/head"])
def test_why_nothing_was_built_is_told_of_a_request_too(requests: Requests, asked: str) -> None:
    requests.built(17, wheel())
    found = requests.api("GET", f"/sources/widget/why?of={asked}")
    assert found["sentence"] == "Build #1 published widget 1.0+topic."
    assert [clue["good"] for clue in found["clues"]] == [True, True], (
        "delivery and build; no sweep looks at it"
    )
    assert requests.api("GET", "/sources/widget/why?of=%2318", 404)["code"] == "pull_request.unknown"


def test_how_a_request_is_built_again_is_said_as_it_can_be_done(requests: Requests) -> None:
    """Nobody starts a build of a request by its ref."""
    build_id = requests.opened(17)
    requests.api("POST", f"/builds/{build_id}/cancel")
    found = requests.api("GET", "/sources/widget/why?of=%2317")
    assert "was cancelled" in found["sentence"]
    assert "`/buildfarm build`" in found["remedy"]


def test_a_request_has_the_title_that_its_author_gave_it(requests: Requests) -> None:
    build_id = requests.opened(17)
    assert requests.build(build_id).title == "Round the rim"
    (row,) = requests.api("GET", "/sources/widget/pull-requests")["items"]
    assert row["title"] == "Round the rim"


def test_a_removed_source_is_called_so_in_lists(requests: Requests) -> None:
    requests.opened(17)
    requests.api("DELETE", "/sources/widget")
    client = requests.house.client(requests.house.token("admin"))
    for path in ("/deliveries", "/builds"):
        page = client.get(path, headers={"Accept": "text/html"}).text
        assert "widget (removed)" in page
        assert "~src_" not in page
