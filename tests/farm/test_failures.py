"""Builds that end before they have jobs: whose fault it was, of which class, and what to do next."""

import subprocess
from pathlib import Path

import pytest

from buildfarm.errors import InvalidInput, LimitExceeded
from buildfarm.farm import failures, registry
from buildfarm.farm.model import Task
from buildfarm.scm import connect
from buildfarm.sources import faults
from workers import tasks

ROOT = Path(__file__).parents[2]
PLATFORM = "manylinux_2_36_x86_64"
PLAIN = '[build-system]\nrequires = []\n[project]\nname = "widget"\nversion = "1.0"\n'
PROGRAM = """
[tool.buildfarm]
project = "widget"
[tool.buildfarm.program]
build = ["make"]
commands = { widget = "widget" }
"""


def commit_entry(repository: Path, name: str, who: list[str]) -> None:
    """Commit the pyproject.toml under a name that `git add` would not take."""

    def git(*command: str, given: str = "") -> str:
        done = subprocess.run(
            ["git", *who, *command], cwd=repository, input=given, capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    tree = git("mktree", given=f"100644 blob {git('rev-parse', 'HEAD:pyproject.toml')}\t{name}\n")
    git("update-ref", "HEAD", git("commit-tree", "-m", "Hide", tree))


@pytest.fixture
def build(open_house, tmp_path, monkeypatch):
    """Starts a build, and does its control work as a worker does; the answer of the API."""
    house = open_house(sources_allow_file=True)
    monkeypatch.setattr(tasks, "own_farm", lambda: house.farm)
    admin = house.client(house.token("admin"))

    def run(project=PLAIN, ref="main", url=None, interpreters=("cp311", "cp313"), entry=None, **wrong):
        repository = tmp_path / "repository"
        repository.mkdir()
        (repository / "pyproject.toml").write_text(project)
        who = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
        begin = [["init", "-qb", "main"], ["add", "."], ["commit", "-qm", "Begin"], ["tag", "rolling"]]
        for command in begin:
            subprocess.run(["git", *who, *command], cwd=repository, check=True)
        if entry:
            commit_entry(repository, entry, who)
        with house.database.begin() as session:
            connect.add_source(
                session, "widget", url or repository.as_uri(), scm="generic", branches=[], tier="dev",
                allow_file=True, actor="test",
            )  # fmt: skip
            images = [
                {"image_id": f"sha256:{role[0] * 64}", "role": role, "suite": "bookworm",
                 "platform": PLATFORM, "interpreters": list(interpreters)}
                for role in ("builder", "test") if interpreters
            ]  # fmt: skip
            registry.register_images(session, images, actor="test")
        body = {"source": "widget", "ref": ref} | wrong
        build_id = admin.post("/api/v1/builds", json=body).json["id"]
        for attempt in range(1, house.farm.settings.limits.attempts + 1):
            with house.database.read() as session:
                task = session.query(Task).filter_by(subject=build_id, kind="fetch").one()
            tasks.run_task(task.id, attempt, 1)
        run.page = admin.get(f"/builds/{build_id}", headers={"Accept": "text/html"}).text
        return admin.get(f"/api/v1/builds/{build_id}").json

    return run


@pytest.mark.parametrize(
    ("made", "failure_class", "cause", "sentence"),
    [
        ({"url": "https://git.invalid/widget.git"}, "fetch", "infrastructure", "cannot be resolved"),
        ({"url": "file:///nowhere/widget.git"}, "fetch-refused", "policy", "no git repository"),
        ({"ref": "refs/heads/gone"}, "ref", "user_code", "no such branch or tag"),
        ({"commit": "a" * 40}, "ref", "user_code", "does not hold the announced commit"),
        ({"entry": ".git"}, "repository", "user_code", "git's own check refuses"),
        ({"project": "[tool.buildfarm]\ncolour = 1\n"}, "recipe", "user_code", "colour"),
        ({"project": PLAIN + 'requires-python = "three"\n'}, "metadata", "user_code", "Requires-Python"),
        ({"project": PLAIN + '[tool.buildfarm.targets]\nplatforms = ["musllinux-x86_64"]\n'},
         "target", "policy", "musllinux"),
        ({"interpreters": ()}, "no-image", "infrastructure", "no image"),
        ({"project": PROGRAM, "ref": "refs/tags/rolling"}, "version", "user_code", "names no version"),
    ],
)  # fmt: skip
def test_a_build_that_has_no_jobs_says_why_and_what_to_do(build, made, failure_class, cause, sentence):
    ended = build(**made)
    assert (ended["state"], ended["failure_class"], ended["cause"]) == ("failed", failure_class, cause)
    assert sentence in ended["first_error"]
    assert ended["next_step"] == failures.FAILURES[failure_class].next_step
    assert "Not planned" in build.page
    assert f'<span class="cause">{failure_class}</span>' in build.page


def test_every_complaint_of_git_has_a_class_that_fits_its_kind():
    for fault in faults._FAULTS:
        found = failures.class_of(fault.error("x", code=fault.code))
        assert found in failures.FAILURES
        assert found != "refused", fault.code
    assert failures.class_of(LimitExceeded("x", code="source.too_many_files")) == "source-size"


def test_what_nobody_thought_of_is_a_refusal_or_a_fault_of_the_farm():
    assert failures.class_of(InvalidInput("x", code="channel.not_durable")) == "refused"
    assert failures.class_of(tasks.ExternalFailure("x", code="farm.bug")) == "farm"


def test_the_documentation_tells_of_every_class():
    told = (ROOT / "docs/builder-images.md").read_text()
    assert [name for name in failures.FAILURES if f"`{name}`" not in told] == []
