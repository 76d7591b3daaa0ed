"""Equal input is answered without a build, and nothing else is."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event, update

from buildfarm import clock
from buildfarm.farm import builds, claims, registry
from buildfarm.farm.model import Build, Job, Task
from buildfarm.farm.plan import Planner
from buildfarm.index import buildview
from buildfarm.index.provenance import build_facts
from buildfarm.mirror.model import UpstreamFile
from buildfarm.scm import connect
from buildfarm.sources.contract import FetchRequest, Snapshot
from buildfarm.sources.fetcher import fetch_snapshot
from buildfarm.sources.model import Source
from tests.conftest import House, wheel
from tests.mirror.conftest import upstream  # noqa: F401 - the same fixture

PLATFORM = "manylinux_2_36_x86_64"
PROJECT = """\
[project]
name = "widget"
version = "1.0"
[tool.buildfarm.targets]
interpreters = ["cp311", "cp313"]
"""
TOOL, NEWER, LATER = wheel("tool", "1.0"), wheel("tool", "2.0"), wheel("later")
CP311, CP313 = f"cp311-{PLATFORM}", f"cp313-{PLATFORM}"


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def git(folder: Path, *command: str) -> str:
    who = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
    dates = {"GIT_AUTHOR_DATE": "1700000000 +0000", "GIT_COMMITTER_DATE": "1700000000 +0000"}
    done = subprocess.run(
        ["git", *who, *command],
        cwd=folder,
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | dates,
    )
    return done.stdout


def images(letter: str) -> list[dict[str, Any]]:
    kind = {"suite": "bookworm", "platform": PLATFORM, "interpreters": ["cp311", "cp313"]}
    roles = {"builder": letter, "test": "e"}
    return [{"image_id": f"sha256:{one * 64}", "role": role, **kind} for role, one in roles.items()]


@dataclass
class Shop:
    """A farm, a repository and an upstream with one build requirement."""

    house: House
    repository: Path
    upstream: Any
    builder: str = ""

    def plan(self, ref: str = "main", *, fresh: bool = False) -> dict[str, Any]:
        """A build as it stands after planning."""
        admin = self.house.client(self.house.token("admin"))
        body = {"source": "widget", "ref": ref, "fresh": fresh}
        build_id = admin.post("/api/v1/builds", json=body).json["id"]
        with self.house.database.begin() as session:
            task = session.query(Task).filter_by(subject=build_id, kind="fetch").one()
            claims.claim(session, Task, task.id, 1)
        farm = self.house.farm
        planner = Planner(farm.database, farm.blobs, farm.settings, farm.upstream, farm.build_door)
        planner.run(build_id, (task.id, 1))
        return admin.get(f"/api/v1/builds/{build_id}").json

    def call(self, token: str, method: str, path: str, **how: Any):
        headers = {"Authorization": f"Bearer {token}"}
        if "data" in how:
            headers["X-Sha256"] = sha(how["data"])
        return self.house.app.test_client().open(f"/jobapi/v1{path}", method=method, headers=headers, **how)

    def run(self, job: dict[str, Any], *, state: str = "succeeded") -> str:
        """Run a planned job: it reads its tool, looks for another one in vain, and makes a wheel."""
        if not self.builder:
            with self.house.database.begin() as session:
                self.builder = registry.add_builder(session, "one", ["dev", "release"], actor="test")[1]
        claimed = self.call(self.builder, "POST", "/claim", json={"job": job["id"], "attempt": 1})
        token = claimed.json["token"]
        assert self.call(token, "GET", "/attempt/index/simple/tool/").status_code == 200
        assert self.call(token, "GET", "/attempt/index/simple/later/").status_code == 404
        assert self.call(token, "GET", f"/attempt/index/files/tool/{TOOL[0]}").status_code == 200
        if state == "succeeded":
            name, data = made_for(job)
            assert self.call(token, "PUT", f"/attempt/artifacts/{name}", data=data).status_code == 201
        self.call(token, "POST", "/attempt/finish", json={"state": state})
        return job["id"]

    def built(self, ref: str = "main") -> dict[str, str]:
        """A build whose jobs ran well; their ids by target."""
        return {job["target"]: self.run(job) for job in self.plan(ref)["jobs"]}


def made_for(job: dict[str, Any]) -> tuple[str, bytes]:
    interpreter = job["target"].split("-")[0]
    return wheel(tag=f"{interpreter}-{interpreter}-linux_x86_64")


def listed(file: tuple[str, bytes], **more: Any) -> dict[str, Any]:
    name, data = file
    return {"filename": name, "url": f"../../files/{name}", "hashes": {"sha256": sha(data)}, **more}


@pytest.fixture(scope="module")
def snapshots(tmp_path_factory):
    """Fetches each state of the repository once for all tests: a fetch is a process, and takes longest."""
    kept: dict[tuple[str, ...], Snapshot] = {}
    folder = tmp_path_factory.mktemp("snapshots")

    def fetch(request: FetchRequest, path: Path) -> Snapshot:
        key = (request.ref, git(Path(request.url.removeprefix("file://")), "for-each-ref"))
        if key not in kept:
            kept[key] = fetch_snapshot(request, folder / f"{len(kept)}.tar")
        shutil.copy(kept[key].path, path)
        return kept[key].model_copy(update={"path": path})

    return fetch


@pytest.fixture
def shop(open_house, tmp_path, upstream, snapshots, monkeypatch) -> Shop:  # noqa: F811
    monkeypatch.setattr("buildfarm.farm.plan.fetch_snapshot", snapshots)
    house = open_house(
        sources_allow_file=True,
        mirror={"upstreams": [upstream.url + "/"], "timeout_s": 30, "fresh_s": 0.0, "stale_wait_s": 20},
    )
    upstream.page("tool", listed(TOOL))
    for name, data in (TOOL, NEWER, LATER):
        upstream.put(f"/files/{name}", data)
    repository = tmp_path / "repository"
    repository.mkdir()
    (repository / "pyproject.toml").write_text(PROJECT)
    git(repository, "init", "-qb", "main")
    git(repository, "add", ".")
    git(repository, "commit", "-qm", "Begin")
    with house.database.begin() as session:
        connect.add_source(
            session, "widget", repository.as_uri(), scm="generic", branches=[], tier="dev", allow_file=True,
            actor="test",
        )  # fmt: skip
        registry.register_images(session, images("b"), actor="test")
    return Shop(house, repository, upstream)


def answers(build: dict[str, Any]) -> dict[str, str | None]:
    return {job["target"]: job["answered_by"] for job in build["jobs"]}


NOBODY = {CP311: None, CP313: None}


def test_the_same_commit_again_has_the_files_of_the_job_that_ran(shop) -> None:
    first = shop.built()
    again = shop.plan()
    assert (answers(again), again["state"]) == (first, "built")
    assert [job["state"] for job in again["jobs"]] == ["succeeded", "succeeded"]
    assert [file["filename"] for job in again["jobs"] for file in job["artifacts"]] == [
        made_for(job)[0] for job in again["jobs"]
    ]
    assert {row["filename"] for job in again["jobs"] for row in job["dependencies"]} == {TOOL[0]}
    with shop.house.database.read() as session:
        files = builds.artifacts(session, again["id"])
        assert {file.job_id for file in files.values()} == set(first.values())
        told = build_facts(session, next(iter(files.values())), "widget", "1.0", shop.house.farm.settings)
        assert told.attempt_key in {f"{job_id}/1" for job_id in first.values()}
        assert session.query(Task).filter_by(subject=again["id"], kind="publish").count() == 1
    third = shop.plan()
    assert answers(third) == first, "an answer names the job that ran, not another answer"


def test_pages_and_the_command_line_say_whose_files_they_are(shop) -> None:
    first = shop.built()
    job = shop.plan()["jobs"][0]
    reader = shop.house.client(shop.house.token("admin"))
    for path in (f"/jobs/{job['id']}", f"/builds/{job['build_id']}"):
        text = reader.get(path, headers={"Accept": "text/html"}).text
        assert f'href="/jobs/{first[job["target"]]}"' in text


def test_a_build_that_failed_in_one_target_builds_that_one_alone(shop) -> None:
    well, ill = shop.plan()["jobs"]
    shop.run(well), shop.run(ill, state="failed")
    again = shop.plan()
    assert answers(again) == {well["target"]: well["id"], ill["target"]: None}
    assert (again["state"], [job["state"] for job in again["jobs"]]) == ("running", ["succeeded", "queued"])


def test_what_took_longest_the_last_time_is_begun_first(shop) -> None:
    first = shop.built()
    for slow, quick in ((CP311, CP313), (CP313, CP311)):
        with shop.house.database.begin() as session:
            for target, minutes in ((slow, 9), (quick, 1)):
                job = session.get_one(Job, first[target])
                job.finished_at = (job.started_at or clock.now()) + timedelta(minutes=minutes)
        jobs = shop.plan(fresh=True)["jobs"]
        assert [job["target"] for job in sorted(jobs, key=lambda job: job["id"])] == [slow, quick]


def test_who_asks_for_a_fresh_build_gets_one(shop) -> None:
    shop.built()
    assert answers(shop.plan(fresh=True)) == NOBODY


@pytest.mark.parametrize("page", ["a newer tool", "a yanked tool", "what was not there"])
def test_what_the_index_shows_otherwise_now_is_another_input(shop, page: str) -> None:
    shop.built()
    match page:
        case "a newer tool":
            shop.upstream.page("tool", listed(TOOL), listed(NEWER))
        case "a yanked tool":
            shop.upstream.page("tool", listed(TOOL, yanked="broken"))
        case "what was not there":
            shop.upstream.page("later", listed(LATER))
            shop.house.farm.upstream.pages.refresh("later")
    assert answers(shop.plan()) == NOBODY


def test_a_page_is_the_same_bytes_in_every_process() -> None:
    spellings = ["1", "1.0", "1.0.0", "1.0.0.0", "1.0.0.0.0"]
    files = [buildview.entry("tool", f"tool-{one}.tar.gz", None, None) for one in spellings]
    assert json.loads(buildview.document("tool", files))["versions"] == spellings


def test_what_the_index_refuses_now_is_in_no_answer(shop) -> None:
    shop.built()
    with shop.house.database.begin() as session:
        session.execute(update(UpstreamFile).values(refused="It is malware."))
    assert answers(shop.plan()) == NOBODY


def test_an_index_that_cannot_be_asked_answers_nothing(shop) -> None:
    shop.built()
    shop.upstream.put("/simple/later/", b"out of order", status=500)
    shop.house.farm.upstream.pages._unknown.clear()  # as another process, or a minute later
    assert answers(shop.plan()) == NOBODY


def test_files_that_are_gone_are_made_again(shop) -> None:
    first = shop.plan()["jobs"]
    for job in first:
        shop.run(job)
    shop.house.farm.blobs.path(sha(made_for(first[0])[1])).unlink()
    assert answers(shop.plan()) == {first[0]["target"]: None, first[1]["target"]: first[1]["id"]}


def test_a_tag_on_the_commit_and_another_branch_are_another_source_tree(shop) -> None:
    shop.built()
    git(shop.repository, "branch", "other")
    assert answers(shop.plan("other")) == NOBODY, "a version may have the branch's name in it"
    git(shop.repository, "tag", "v1.0")
    assert answers(shop.plan("refs/tags/v1.0")) == NOBODY
    assert answers(shop.plan("main")) == NOBODY, "from now on its version is that of the tag"


def test_another_image_recipe_or_tier_is_another_input(shop) -> None:
    first = shop.built()
    with shop.house.database.begin() as session:
        session.execute(update(Source).values(recipe='[build]\nenvironment = { A = "1" }\n'))
    assert answers(shop.plan()) == NOBODY
    with shop.house.database.begin() as session:
        session.execute(update(Source).values(recipe=None, tier="release"))
    assert answers(shop.plan()) == NOBODY
    with shop.house.database.begin() as session:
        session.execute(update(Source).values(tier="dev"))
    assert answers(shop.plan()) == first
    with shop.house.database.begin() as session:
        registry.register_images(session, images("d"), actor="test")
    assert answers(shop.plan()) == NOBODY


def test_looking_at_many_earlier_jobs_asks_no_more_often_than_at_one(shop) -> None:
    def asked() -> int:
        texts: list[str] = []
        note = lambda _connection, _cursor, text, *_more: texts.append(text)  # noqa: E731
        event.listen(Engine, "before_cursor_execute", note)
        shop.plan(fresh=False)
        event.remove(Engine, "before_cursor_execute", note)
        return sum("index_answer" in text or "dependency" in text or "artifact" in text for text in texts)

    shop.built()
    few = asked()
    for _again in range(3):
        for job in shop.plan(fresh=True)["jobs"]:
            shop.run(job)
    assert asked() == few


def test_a_comparison_reads_what_the_job_that_ran_was_served(shop) -> None:
    first = shop.built()
    again = shop.plan()
    shop.upstream.page("tool", listed(TOOL), listed(NEWER))
    admin = shop.house.client(shop.house.token("admin"))
    second = admin.post(f"/api/v1/builds/{again['id']}/compare").json
    assert [job["state"] for job in second["jobs"]] == ["queued", "queued"]
    with shop.house.database.begin() as session:
        waited = clock.now().replace(year=2020)
        session.execute(update(Job).where(Job.build_id == second["id"]).values(created_at=waited))
    claimed = shop.call(shop.builder, "POST", "/claim", json={"job": second["jobs"][0]["id"], "attempt": 1})
    page = shop.call(claimed.json["token"], "GET", "/attempt/index/simple/tool/").json
    assert [file["filename"] for file in page["files"]] == [TOOL[0]]
    with shop.house.database.read() as session:
        assert session.get_one(Build, second["id"]).compares_id == again["id"]
    assert set(first.values()) == {job["answered_by"] for job in again["jobs"]}
