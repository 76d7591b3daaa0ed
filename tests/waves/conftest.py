from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import pytest
from packaging.utils import parse_wheel_filename
from sqlalchemy import select

from buildfarm import clock
from buildfarm.farm import builds, jobs
from buildfarm.farm.model import Build, Job, Task
from buildfarm.farm.rules import State
from buildfarm.index.model import ChannelEntry
from buildfarm.trust import root
from buildfarm.trust.client import SignerClient
from buildfarm.waves import run
from tests.conftest import House, wheel
from workers import tasks

TARGET = "cp313-manylinux_2_28_x86_64"
JSON = "application/vnd.pypi.simple.v1+json"


@dataclass
class Sea:
    """A farm beside a running signer, and the verbs of waves; builders are played by the test."""

    house: House
    sources: dict[str, str]

    @property
    def database(self):
        return self.house.database

    def api(self, method: str, path: str, status: int = 200, **how: Any) -> Any:
        answer = self.house.client(self.house.token("admin")).open(f"/api/v1{path}", method=method, **how)
        assert answer.status_code == status, answer.text
        return answer.json

    def release(self, project: str, version: str = "1.0", *, reads: tuple[str, ...] = (), **made: Any) -> str:
        """Build and publish a version of a project, whose build reads the newest files of others."""
        if project not in self.sources:
            self.sources[project] = self.house.source(project, projects=(project,))
        build_id, planned = self.house.build(self.sources[project], TARGET, ref=f"refs/tags/v{version}")
        self.do(planned[TARGET], *reads, file=wheel(project, version, **made))
        with self.database.read() as session:
            build = session.get_one(Build, build_id)
        assert build.state == State.PUBLISHED, build.first_error
        return build_id

    def do(self, job_id: str, *reads: str, file: tuple[str, bytes], state: str = "succeeded") -> list[str]:
        """Run a job as a builder would, and publish; the names of the files that it read."""
        token = self.house.claim(job_id)
        read = [self.read(token, project) for project in reads]
        if state == "succeeded":
            self.house.artifact(token, *file)
        cause = {} if state == "succeeded" else {"cause": "user_code"}
        self.house.finish(token, state, **cause)
        self.control_work()
        return read

    def read(self, token: str, project: str) -> str:
        """What an installer takes of a project, by the attempt's index: the highest version and number."""
        client, headers = self.house.app.test_client(), {"Authorization": f"Bearer {token}"}
        page = client.get(f"/jobapi/v1/attempt/index/simple/{project}/", headers=headers)
        assert page.status_code == 200, page.text
        names = {file["filename"]: file["hashes"]["sha256"] for file in page.json["files"]}
        chosen = max(names, key=lambda name: parse_wheel_filename(name)[1:3])
        got = client.get(f"/jobapi/v1/attempt/index/files/{project}/{chosen}", headers=headers)
        assert hashlib.sha256(got.data).hexdigest() == names[chosen]
        return chosen

    def control_work(self) -> None:
        """Do the publish tasks that wait, as a control worker does."""
        with self.database.read() as session:
            waiting = session.scalars(
                select(Task).where(Task.state == State.QUEUED, Task.kind == "publish")
            ).all()
        for task in waiting:
            tasks.run_task(task.id, task.attempt, 1)
        self.house.follower.catch_up()

    def advance(self) -> None:
        """One round of the keeper."""
        run.advance_all(self.database)

    def plan(self, build_id: str) -> str:
        """Give a rebuild its one job, as the planner does; the job's id. Its class is noted in its queue."""
        with self.database.begin() as session:
            build = builds.get(session, build_id)
            first = session.scalars(select(Job).where(Job.build_id == build.rebuilds_id)).one()
            build.recipe_sha256, build.recipe_name, build.snapshot_sha256 = "b" * 64, "default", "c" * 64
            build.recipe_path = "pyproject.toml"
            session.scalars(select(Task).where(Task.subject == build_id)).one().state = State.SUCCEEDED
            queue = first.queue.rpartition(".")[0] + ".background"
            job = Job(
                id=f"job_{build_id}", build_id=build_id, target=TARGET, required=True, spec=first.spec,
                **jobs.queued_values(build.source_id, queue, clock.now()),
            )  # fmt: skip
            session.add(job)
            return job.id

    def rebuild(
        self, wave_id: str, project: str, *reads: str, state: str = "succeeded", **made: Any
    ) -> list[str]:
        """Do the build of a member: what it makes has `made` and the build's number; what it read."""
        member = self.member(wave_id, project)
        with self.database.read() as session:
            build = session.get_one(Build, member["rebuild_id"])
        name, data = wheel(project, member["version"], number=build.wheel_build, **made)
        read = self.do(self.plan(build.id), *reads, file=(name, data), state=state)
        self.advance()
        return read

    def member(self, wave_id: str, project: str) -> dict[str, Any]:
        found = self.api("GET", f"/waves/{wave_id}")["members"]
        return next(one for one in found if one["project"] == project)

    def states(self, wave_id: str) -> dict[str, str]:
        return {one["project"]: one["state"] for one in self.api("GET", f"/waves/{wave_id}")["members"]}

    def live(self, channel: str) -> list[str]:
        with self.database.read() as session:
            entries = select(ChannelEntry.filename).where(
                ChannelEntry.channel == channel, ChannelEntry.until.is_(None)
            )
            return sorted(session.scalars(entries))

    def page(self, channel: str, project: str) -> list[str]:
        """The files that pip sees."""
        self.house.follower.catch_up()
        client = self.house.client(self.house.token("admin"))
        answer = client.get(f"/{channel}/simple/{project}/", headers={"Accept": JSON})
        return [file["filename"] for file in answer.json["files"]] if answer.status_code == 200 else []


@pytest.fixture
def sea(open_house, signer, monkeypatch: pytest.MonkeyPatch) -> Sea:
    # Nobody follows the pages but the test itself: there is none to wait for.
    house = open_house()
    monkeypatch.setattr(type(house.farm.upstream), "rows", lambda _self, _name: None)
    client = SignerClient(signer())
    vars(house.farm)["signer"] = client
    trust = house.farm.settings.trust_dir
    trust.mkdir(parents=True)
    (trust / root.TRUSTED_ROOT).write_text(client.health()["documents"][root.TRUSTED_ROOT])
    monkeypatch.setattr(tasks, "own_farm", lambda: house.farm)
    return Sea(house, {})
