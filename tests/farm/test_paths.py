"""Paths of a source: what git says has changed decides, whatever a delivery told."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from buildfarm import clock
from buildfarm.farm import builds, claims
from buildfarm.farm.model import Build, Task
from buildfarm.farm.plan import Planner
from buildfarm.scm import connect
from buildfarm.sources.model import PullRequest, Source


class Repository:
    """A real repository and its source, which follows `main` where something below `lib/` changed."""

    def __init__(self, house, path: Path) -> None:
        self.house, self.path = house, path
        path.mkdir()
        self.git("init", "--quiet", "--initial-branch", "main")
        (path / "pyproject.toml").write_text("[build-system]\nrequires = []\n")
        with house.database.begin() as session:
            source, _ = connect.add_source(
                session, "widget", path.as_uri(), scm="generic", branches=["main"], tier="dev",
                allow_file=True, actor="test", paths=["lib/*", "VERSION"],
            )  # fmt: skip
            self.source_id = source.id

    def git(self, *arguments: str) -> str:
        who = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
        run = subprocess.run(["git", *who, *arguments], cwd=self.path, check=True, capture_output=True)
        return run.stdout.decode().strip()

    def commit(self, name: str) -> str:
        (self.path / name).parent.mkdir(exist_ok=True)
        with (self.path / name).open("a") as file:
            file.write("more\n")
        self.git("add", ".")
        self.git("commit", "--quiet", "--message", name)
        return self.git("rev-parse", "HEAD")

    def begin(
        self,
        commit: str,
        trigger: str = "webhook:generic",
        ref: str = "refs/heads/main",
        request: PullRequest | None = None,
    ) -> str:
        with self.house.database.begin() as session:
            source = session.get_one(Source, self.source_id)
            if request:
                session.add(request)
                session.flush()
            build = builds.start(
                session, source, ref=ref, commit=commit, trigger=trigger, actor="ada", pull_request=request
            )
            return build.id

    def request(self, number: int, base: str = "main") -> PullRequest:
        """A pull request from what the repository holds now, meant for a branch."""
        ref = f"refs/pull/{number}/head"
        self.git("update-ref", ref, "HEAD")
        return PullRequest(
            id=f"pul_{number}", source_id=self.source_id, number=number, ref=ref, is_fork=False,
            head=self.git("rev-parse", "HEAD"), base=f"refs/heads/{base}", head_repository="acme/widget",
            opened_at=clock.now(), approvals=[],
        )  # fmt: skip

    def left_request(self, number: int, *, base: str = "main", **how: str) -> bool:
        """Whether a pull request from what the repository holds now is left without a build."""
        request = self.request(number, base)
        return self.left(str(request.head), ref=request.ref, request=request, **how)

    def planned(self, build_id: str) -> Build:
        """The build once its commit was fetched and planned; for want of images it fails then."""
        with self.house.database.begin() as session:
            task = session.query(Task).filter_by(subject=build_id, kind="fetch").one()
            claims.claim(session, Task, task.id, 1)
        farm = self.house.farm
        planner = Planner(farm.database, farm.blobs, farm.settings, farm.upstream, farm.build_door)
        planner.run(build_id, (task.id, 1))
        with self.house.database.read() as session:
            return session.get_one(Build, build_id)

    def left(self, commit: str, **how: Any) -> bool:
        """Whether a push of the commit is left without a build."""
        build = self.planned(self.begin(commit, **how))
        assert build.state in ("cancelled", "failed")
        return build.state == "cancelled"


@pytest.fixture
def repository(open_house, tmp_path: Path) -> Repository:
    return Repository(open_house(sources_allow_file=True), tmp_path / "repository")


def test_a_push_is_built_where_a_file_that_the_paths_name_changed(repository: Repository) -> None:
    assert not repository.left(repository.commit("README"))  # nothing to compare with
    build = repository.planned(repository.begin(repository.commit("README")))
    assert (build.state, build.cause) == ("cancelled", "policy")
    assert "lib/*, VERSION" in (build.first_error or "")
    assert not repository.left(repository.commit("lib/spoke.py"))
    assert repository.left(repository.commit("docs/lib.txt"))
    assert not repository.left(repository.commit("VERSION"))


def test_what_changed_in_a_push_that_was_missed_superseded_or_left_still_counts(
    repository: Repository,
) -> None:
    repository.planned(repository.begin(repository.commit("README")))
    superseded = repository.begin(repository.commit("lib/spoke.py"))
    with repository.house.database.begin() as session:
        builds.cancel(session, superseded, actor="ada")
    assert not repository.left(repository.commit("README"))
    repository.commit("lib/rim.py")  # its delivery never came
    assert not repository.left(repository.commit("README"), trigger="sweep")
    assert repository.left(repository.commit("README"), trigger="sweep")


@pytest.mark.parametrize("trigger", ["manual", "replay"])
def test_what_a_person_asks_for_is_built_whatever_changed(repository: Repository, trigger: str) -> None:
    repository.planned(repository.begin(repository.commit("README")))
    assert not repository.left(repository.commit("README"), trigger=trigger)


def test_a_tag_is_built_whatever_changed(repository: Repository) -> None:
    repository.planned(repository.begin(repository.commit("README")))
    head = repository.commit("README")
    repository.git("tag", "v1")
    assert not repository.left(head, ref="refs/tags/v1")


def test_a_branch_that_was_rewritten_is_compared_by_what_is_in_it(repository: Repository) -> None:
    repository.planned(repository.begin(repository.commit("lib/spoke.py")))
    repository.git("commit", "--quiet", "--amend", "--message", "The same files")
    assert repository.left(repository.git("rev-parse", "HEAD"))
    with repository.house.database.begin() as session:
        session.query(Build).filter_by(state="failed").one().commit = "f" * 40  # the mirror lost it
    assert not repository.left(repository.commit("README"))


def test_a_request_is_built_where_it_changes_a_file_that_the_paths_name(repository: Repository) -> None:
    repository.commit("README")
    repository.git("checkout", "--quiet", "-b", "topic")
    repository.commit("docs/rim.txt")
    repository.git("checkout", "--quiet", "main")
    repository.commit("lib/spoke.py")  # of the branch that it is meant for, after they parted
    repository.git("checkout", "--quiet", "topic")
    assert repository.left_request(1)
    assert not repository.left_request(2, trigger="replay"), "a person asked for it"
    repository.commit("lib/rim.py")
    assert not repository.left_request(3)
    repository.commit("docs/rim.txt")
    assert not repository.left_request(4), "all of its commits count"


def test_a_request_for_a_branch_that_is_gone_is_built(repository: Repository) -> None:
    repository.commit("README")
    assert not repository.left_request(1, base="gone")


def test_what_a_request_is_left_for_is_said(repository: Repository) -> None:
    repository.commit("README")
    request = repository.request(1)
    build = repository.planned(repository.begin(str(request.head), ref=request.ref, request=request))
    said = "The pull request changes no file that the source's paths name (lib/*, VERSION)."
    assert build.first_error == said
