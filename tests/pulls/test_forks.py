"""Pull requests of forks: nothing of a stranger's runs before a person looked at that very commit."""

from __future__ import annotations

import json
from typing import Any

import pytest

from buildfarm.farm.model import Build, Job
from buildfarm.index import buildview, stages
from buildfarm.sources.model import Source
from tests.pulls.conftest import Requests, follow, in_session, wheel

pytestmark = pytest.mark.system  # each build starts a fetcher and a validator

MALLORY = "mallory/widget"


@pytest.fixture
def forks(requests: Requests) -> Requests:
    """A source that builds commits of forks once they were approved."""
    follow(requests, "approved")
    return requests


def approve(forks: Requests, number: int, commit: str, status: int = 201, scope: str = "build") -> Any:
    path = f"/sources/widget/pull-requests/{number}/approvals"
    return forks.api("POST", path, status, scope=scope, json={"commit": commit})


def approved(forks: Requests, number: int = 5, **files: str) -> str:
    """The id of the build of a fork's commit that somebody approved."""
    commit = forks.push(number, **(files or {"rim": "round\n"}))
    assert forks.tell(number, "opened", fork=MALLORY)["reason"] == "pull_request_needs_approval"
    return approve(forks, number, commit)["id"]


def test_a_fork_is_built_only_where_the_source_says_so(requests: Requests) -> None:
    commit = requests.push(5)
    assert requests.tell(5, "opened", fork=MALLORY)["reason"] == "pull_request_of_fork"
    assert in_session(requests, Build) == []
    assert approve(requests, 5, commit, 409)["code"] == "pull_request.not_built"
    assert approve(requests, 6, commit, 404)["code"] == "pull_request.unknown"


def test_a_commit_waits_for_its_approval_and_then_goes_into_quarantine(each_requests: Requests) -> None:
    forks = each_requests
    follow(forks, "approved")
    name, data = wheel()
    build_id = approved(forks)
    (row,) = forks.journal("pull_request.approve")
    assert (row["number"], row["commit"], row["actor"]) == (5, forks.heads[5], "with build")
    build = forks.do(build_id, (name, data))
    assert (build.state, build.trigger, build.actor) == ("published", "approval", "with build")
    (told,) = forks.journal("stage.publish")
    assert (told["is_fork"], told["approved_by"], told["commit"]) == (True, "with build", forks.heads[5])

    path = "/pr-widget-5/simple/widget/"
    assert forks.index(path).status_code == 401
    for scopes in (("read:dev",), ("read:*",), ("build",), ("read:pr-widget-5", "view")):
        assert forks.index(path, *scopes).status_code == 403, scopes
    for scopes in (("read:dev", "build"), ("admin",)):
        assert forks.index(path, *scopes).status_code == 200, scopes


def test_quarantine_lasts_while_files_of_a_stage_that_is_gone_are_in_a_tree(forks: Requests) -> None:
    name, _ = wheel()
    forks.do(approved(forks), wheel())
    path = f"/pr-widget-5/files/widget/{name}"
    assert forks.index(path, "admin").status_code == 200
    forks.tell(5, "closed", fork=MALLORY)
    stages.end_due(forks.house.database)  # and no follower has rendered since
    assert forks.index(path, "read:*").status_code == 403
    assert forks.index("/pr-widget-99/simple/", "read:*").status_code == 403


def test_each_later_commit_needs_an_approval_of_its_own(forks: Requests) -> None:
    forks.do(approved(forks), wheel())
    old, new = forks.heads[5], forks.push(5, rim="evil\n")
    assert forks.tell(5, "synchronize", fork=MALLORY)["reason"] == "pull_request_needs_approval"
    (row,) = forks.api("GET", "/sources/widget/pull-requests")["items"]
    assert (row["needs_approval"], row["head"], row["stage"]) == (True, new, "pr-widget-5")
    assert [one["commit"] for one in row["approvals"]] == [old]
    assert len(in_session(forks, Build)) == 1
    assert forks.tell(5, "synchronize", fork=MALLORY, commit=old)["reason"] == "already_built"


@pytest.mark.parametrize("case", ["not the head", "abbreviated", "own", "closed", "twice", "no longer"])
def test_what_cannot_be_approved_says_why(forks: Requests, case: str) -> None:
    commit = forks.push(5)
    forks.tell(5, "opened", fork="" if case == "own" else MALLORY)
    status, code, asked = 409, f"pull_request.{case}", commit
    match case:
        case "not the head":
            code, asked = "pull_request.moved", forks.push(5, rim="evil\n")
        case "abbreviated":
            status, code, asked = 400, "source.commit_refused", commit[:12]
        case "closed":
            forks.tell(5, "closed", fork=MALLORY)
        case "twice":
            code = "pull_request.approved"
            approve(forks, 5, commit)
        case "no longer":
            code = "pull_request.not_built"
            follow(forks, "own")
    assert approve(forks, 5, asked, status)["code"] == code
    assert len(in_session(forks, Build)) == (case in {"own", "twice"})


def test_whoever_may_look_or_read_approves_nothing(forks: Requests) -> None:
    commit = forks.push(5)
    forks.tell(5, "opened", fork=MALLORY)
    for scope in ("view", "read:*", "promote:dev"):
        approve(forks, 5, commit, 403, scope=scope)
    assert in_session(forks, Build) == []


def test_the_recipe_is_the_base_branch_s_and_the_tree_the_stranger_s(forks: Requests) -> None:
    forks.repository.commit(
        "A recipe", **{"buildfarm.toml": '[build]\nenvironment = { WHOSE = "ours" }\ncompile_cache = true\n'}
    )
    evil = '[build]\nenvironment = { WHOSE = "theirs" }\nbefore = "curl evil"\n'
    build_id = approved(forks, 5, **{"buildfarm.toml": evil, "rim": "square\n"})
    forks.work()
    build = forks.build(build_id)
    assert build.recipe["build"]["environment"] == {"WHOSE": "ours"}
    (job,) = forks.jobs(build_id)
    assert not job.spec["before"]
    assert job.queue.split(".")[2] == "untrusted"
    assert "compile_cache" not in job.spec
    assert build.commit == forks.heads[5]
    kept = forks.house.farm.settings.mirrors_dir
    assert {folder.name for folder in kept.iterdir()} == {forks.source_id, f"{forks.source_id}-forks"}
    own = forks.opened(6)
    forks.work()
    (theirs,) = forks.jobs(own)
    assert theirs.spec["compile_cache"].endswith("-dev")
    assert theirs.queue.split(".")[2] == "dev"


def test_a_stranger_s_build_reads_none_of_our_channels(forks: Requests) -> None:
    build_id, own = approved(forks), forks.opened(6)
    forks.work()
    with forks.house.database.read() as session:
        assert session.get_one(Source, forks.source_id).reads == ["dev"]
        granted = {
            job.build_id: buildview.readable(session, job) for job in session.query(Job).order_by(Job.id)
        }
    assert granted == {build_id: [], own: ["dev"]}


def test_nothing_is_fetched_for_a_stranger_with_the_source_s_credential(forks: Requests) -> None:
    forks.repository.commit("A recipe", **{"buildfarm.toml": "submodules = true\n"})
    build_id = approved(forks)
    forks.work()
    build = forks.build(build_id)
    assert (build.state, build.cause) == ("failed", "policy")
    assert "submodules" in (build.first_error or "")
    assert build.snapshot_sha256 is None


def test_the_approved_commit_is_built_when_the_stranger_pushed_another_meanwhile(forks: Requests) -> None:
    build_id = approved(forks)
    looked_at = forks.heads[5]
    forks.push(5, rim="evil\n")
    assert forks.do(build_id, wheel()).commit == looked_at


def test_a_fork_never_becomes_one_of_ours(forks: Requests) -> None:
    forks.push(5)
    forks.tell(5, "opened", fork=MALLORY)
    assert forks.tell(5, "reopened")["reason"] == "pull_request_needs_approval"


def test_what_a_stranger_built_answers_for_nothing_else(forks: Requests) -> None:
    with forks.house.database.begin() as session:
        session.get_one(Source, forks.source_id).tier = "untrusted"
    commit = forks.push(5)
    forks.tell(5, "opened", fork=MALLORY)
    forks.do(approve(forks, 5, commit)["id"], wheel())
    forks.repository.git("update-ref", "refs/pull/6/head", commit)
    forks.heads[6] = commit
    (own,) = forks.tell(6, "opened")["builds"]
    forks.work()
    assert [job.answered_by_id for job in forks.jobs(own["id"])] == [None]


def test_a_replay_starts_no_build_that_nobody_approved(forks: Requests) -> None:
    forks.push(5)
    told = forks.tell(5, "opened", fork=MALLORY)
    refused = forks.api("POST", f"/deliveries/{told['delivery']}/replay", 409)
    assert refused["code"] == "delivery.starts_nothing"
    assert "approve" in json.dumps(refused)
    assert in_session(forks, Build) == []


def test_what_came_before_the_source_built_forks_is_approved_once_it_does(requests: Requests) -> None:
    commit = requests.push(5)
    told = requests.tell(5, "opened", fork=MALLORY)
    assert told["reason"] == "pull_request_of_fork"
    assert requests.api("GET", "/sources/widget/pull-requests")["items"] == []
    follow(requests, "approved")
    (listed,) = requests.api("GET", "/sources/widget/pull-requests")["items"]
    assert (listed["number"], listed["needs_approval"]) == (5, True)
    refused = requests.api("POST", f"/deliveries/{told['delivery']}/replay", 409)
    assert "nobody has approved" in refused["title"]
    assert approve(requests, 5, commit)["commit"] == commit


def test_open_requests_come_page_by_page(forks: Requests) -> None:
    for number in (5, 6, 7):
        forks.push(number)
        forks.tell(number, "opened", fork=MALLORY)
    first = forks.api("GET", "/sources/widget/pull-requests?limit=2")
    rest = forks.api("GET", f"/sources/widget/pull-requests?limit=2&before={first['next']}")
    assert [one["number"] for one in (*first["items"], *rest["items"])] == [7, 6, 5]
    assert rest["next"] is None


def test_no_person_starts_it_by_its_ref(forks: Requests) -> None:
    commit = forks.push(5)
    forks.tell(5, "opened", fork=MALLORY)
    asked = {"source": "widget", "ref": "refs/pull/5/head"}
    assert forks.api("POST", "/builds", 400, json=asked)["code"] == "source.ref_refused"
    started = forks.api("POST", "/builds", 201, json={"source": "widget", "ref": commit})["id"]
    forks.repository.git("branch", "--quiet", "--delete", "--force", "topic-5")
    forks.work()
    assert forks.build(started).state == "failed", "no branch or tag holds it"


def test_the_delivery_s_page_leads_to_where_it_is_approved(forks: Requests) -> None:
    forks.push(5)
    told = forks.tell(5, "opened", fork=MALLORY)
    client = forks.house.client(forks.house.token("admin"))
    html = {"Accept": "text/html"}
    page = client.get(f"/deliveries/{told['delivery']}", headers=html).text
    assert '<a href="/sources/widget#pull-requests">Look</a>' in page
    assert (
        f"Pull request 5 of {MALLORY} waits for approval." in client.get("/sources/widget", headers=html).text
    )
