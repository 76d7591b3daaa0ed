"""A farm that listens to a repository on a GitHub, and the pull requests there; builders are played."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from buildfarm.access import tokens
from buildfarm.access.rules import Principal
from buildfarm.farm import jobs, registry
from buildfarm.farm.model import Build, Builder, Job, Task
from buildfarm.farm.rules import State
from buildfarm.index import channels, names, stages
from buildfarm.journal.model import JournalRow
from buildfarm.scm import connect
from buildfarm.sources.model import Source
from tests import conftest
from tests.conftest import House, open_farm
from tests.farm.senders import Sender
from tests.sources.conftest import Upstream
from workers import tasks

JSON = "application/vnd.pypi.simple.v1+json"
PLATFORM = "manylinux_2_36_x86_64"
#: A wheel as builds of a request make it: with a local version.
wheel = partial(conftest.wheel, version="1.0+topic")
PROJECT = '[project]\nname = "widget"\nversion = "1.0"\n'


@dataclass
class Requests:
    """The repository `acme/widget`, its pull requests, and what becomes of them."""

    house: House
    repository: Upstream
    sender: Sender
    source_id: str
    count: int = 0
    heads: dict[int, str] = field(default_factory=dict)
    builder: tuple[str, Principal] | None = None

    def push(self, number: int, **files: str) -> str:
        """A new commit of a pull request; the branch begins at main."""
        git, branch = self.repository.git, f"topic-{number}"
        git("checkout", "--quiet", *(() if number in self.heads else ("-b",)), branch)
        commit = self.repository.commit(f"Change of {number}", **files)
        git("update-ref", f"refs/pull/{number}/head", commit)
        git("checkout", "--quiet", "main")
        self.heads[number] = commit
        return commit

    def tell(
        self,
        number: int,
        action: str,
        *,
        fork: str = "",
        commit: str = "",
        repository: str = "acme/widget",
    ) -> dict[str, Any]:
        """A delivery about a pull request; `fork` is the full name of another repository."""
        asked = {
            "title": "Round the rim",
            "updated_at": self.count,
            "head": {"sha": commit or self.heads[number], "repo": {"full_name": fork or "acme/widget"}},
            "base": {"ref": "main"},
        }
        body = {
            "action": action, "number": number, "pull_request": asked,
            "repository": {"full_name": repository}, "sender": {"login": "mira"},
        }  # fmt: skip
        self.count += 1
        answer = self.sender.send(json.dumps(body).encode(), self.count, event="pull_request")
        assert answer.status_code in {200, 202}, answer.text
        return answer.json

    def opened(self, number: int, **how: Any) -> str:
        """The id of the build that a new pull request starts."""
        self.push(number, rim="round\n")
        told = self.tell(number, "opened", **how)
        (build,) = told["builds"]
        return build["id"]

    def built(self, number: int, *files: tuple[str, bytes], **how: Any) -> str:
        """The id of a build of a new pull request, done to its end."""
        build_id = self.opened(number, **how)
        self.do(build_id, *files)
        return build_id

    def do(self, build_id: str, *files: tuple[str, bytes]) -> Build:
        """Fetch, plan and publish as workers do; each job makes the files."""
        self.work()
        for job in self.jobs(build_id):
            if job.state == State.QUEUED:  # equal input is answered without a builder
                self.make(job.id, *files)
        self.work()
        return self.build(build_id)

    def work(self) -> None:
        """Do the control work that waits."""
        kinds = ("fetch", "publish")
        with self.house.database.read() as session:
            waiting = select(Task).where(Task.state == State.QUEUED, Task.kind.in_(kinds))
            found = session.scalars(waiting.order_by(Task.id)).all()
        for task in found:
            tasks.run_task(task.id, task.attempt, 1)
        self.house.follower.catch_up()

    def make(self, job_id: str, *files: tuple[str, bytes]) -> None:
        """Run a job as a builder of every tier would."""
        token = self.claim(job_id)
        for filename, data in files:
            self.house.artifact(token, filename, data)
        self.house.finish(token)

    def claim(self, job_id: str) -> str:
        """The token of the job's first attempt."""
        with self.house.database.begin() as session:
            if self.builder is None:
                made, value = registry.add_builder(
                    session, "one", ["release", "dev", "untrusted"], actor="test"
                )
                session.flush()
                principal = tokens.principal_of(session, value, made.created_at)
                assert principal is not None
                self.builder = made.id, principal
            one = session.get_one(Builder, self.builder[0])
            return jobs.claim(session, one, self.builder[1], job_id, 1).token

    def round(self) -> int:
        """The keeper's round, as far as it is about stages; how many ended."""
        ended = stages.end_due(self.house.database)
        self.house.follower.catch_up()
        return ended

    def build(self, build_id: str) -> Build:
        with self.house.database.read() as session:
            return session.get_one(Build, build_id)

    def jobs(self, build_id: str) -> list[Job]:
        with self.house.database.read() as session:
            return list(session.scalars(select(Job).where(Job.build_id == build_id)))

    def api(self, method: str, path: str, status: int = 200, *, scope: str = "admin", **how: Any) -> Any:
        token = self.house.token(scope, name=f"with {scope}")
        answer = self.house.client(token).open(f"/api/v1{path}", method=method, **how)
        assert answer.status_code == status, answer.text
        return answer.json

    def index(self, path: str, *scopes: str) -> Any:
        """What an installer with these scopes is answered; anonymous without any."""
        client = self.house.client(self.house.token(*scopes) if scopes else "")
        return client.get(path, headers={"Accept": JSON})

    def page(self, channel: str, project: str = "widget", scope: str = "admin") -> list[str]:
        """The files that an installer sees."""
        answer = self.index(f"/{channel}/simple/{project}/", scope)
        return [file["filename"] for file in answer.json["files"]] if answer.status_code == 200 else []

    def journal(self, kind: str) -> list[dict[str, Any]]:
        with self.house.database.read() as session:
            rows = select(JournalRow.body).where(JournalRow.kind == kind).order_by(JournalRow.serial)
            return [json.loads(body) for body in session.scalars(rows)]


def connected(house: House, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Requests:
    """A farm with the repository as its source `widget`."""
    repository = Upstream(folder / "acme" / "widget")
    repository.commit("Begin", **{"pyproject.toml": PROJECT})
    monkeypatch.setattr(tasks, "own_farm", lambda: house.farm)
    with house.database.begin() as session:
        channels.create_mirror(session)
        source, secrets = connect.add_source(
            session, "widget", repository.url, scm="github", branches=["main"], tier="dev", allow_file=True,
            actor="test",
        )  # fmt: skip
        names.make_local(session, ["widget"], source, actor="test")
        images = [
            {
                "image_id": f"sha256:{digit * 64}",
                "role": role,
                "suite": "bookworm",
                "platform": PLATFORM,
                "interpreters": ["cp313"],
            }
            for role, digit in (("builder", "a"), ("test", "b"))
        ]
        registry.register_images(session, images, actor="test")
        source_id = source.id
    return Requests(house, repository, Sender(house, "widget", "github", secrets), source_id)


@pytest.fixture
def requests(open_house, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Requests:
    return connected(open_house(sources_allow_file=True), tmp_path, monkeypatch)


@pytest.fixture
def each_requests(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Requests]:
    """The same, once on SQLite and once on PostgreSQL."""
    house = open_farm(database_url, tmp_path, sources_allow_file=True)
    yield connected(house, tmp_path, monkeypatch)
    house.database.close()


def follow(requests: Requests, policy: str) -> None:
    """Say which pull requests are built."""
    requests.api("PUT", "/sources/widget/follows", json={"pull_requests": policy})


def in_session(requests: Requests, model: type = Source) -> Any:
    with requests.house.database.read() as session:
        return session.scalars(select(model)).all()
