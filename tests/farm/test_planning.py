"""What a build knows of its recipe once its commit is fetched and planned."""

import subprocess

import pytest

from buildfarm.farm import claims, registry
from buildfarm.farm.model import Job, Task
from buildfarm.farm.plan import Planner
from buildfarm.scm import connect

PLATFORM = "manylinux_2_36_x86_64"
PROJECT = """\
[build-system]
requires = []
[tool.cibuildwheel]
build = "cp311-*"
before-all = "yum install -y libffi-devel"
before-build = "pip install cython"
[[tool.cibuildwheel.overrides]]
select = "cp311-*"
environment = { A = "1" }
"""


@pytest.fixture
def planned(open_house, tmp_path):
    """The build of a repository that has [tool.cibuildwheel], planned: its house and its id."""
    house = open_house(sources_allow_file=True)
    repository = tmp_path / "repository"
    repository.mkdir()
    (repository / "pyproject.toml").write_text(PROJECT)
    for command in (["init", "-qb", "main"], ["add", "."], ["commit", "-qm", "Begin"]):
        who = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
        subprocess.run(["git", *who, *command], cwd=repository, check=True)
    with house.database.begin() as session:
        connect.add_source(
            session, "widget", repository.as_uri(), scm="generic", branches=[], tier="dev", allow_file=True,
            actor="test",
        )  # fmt: skip
        images = [
            {
                "image_id": f"sha256:{role[0] * 64}",
                "role": role,
                "suite": "bookworm",
                "platform": PLATFORM,
                "interpreters": ["cp311", "cp313"],
            }
            for role in ("builder", "test")
        ]
        registry.register_images(session, images, actor="test")
    admin = house.client(house.token("admin"))
    build_id = admin.post("/api/v1/builds", json={"source": "widget", "ref": "main"}).json["id"]
    with house.database.begin() as session:
        task = session.query(Task).filter_by(subject=build_id, kind="fetch").one()
        claims.claim(session, Task, task.id, 1)
    farm = house.farm
    planner = Planner(farm.database, farm.blobs, farm.settings, farm.upstream, farm.build_door)
    planner.run(build_id, (task.id, 1))
    return house, admin, build_id


def test_a_project_of_cibuildwheel_is_built_as_it_says_and_told_what_is_not_followed(planned):
    house, admin, build_id = planned
    build = admin.get(f"/api/v1/builds/{build_id}").json
    assert [job["target"] for job in build["jobs"]] == [f"cp311-{PLATFORM}"]
    (sentence,) = build["not_followed"]
    assert sentence.startswith("pyproject.toml line 5: tool.cibuildwheel.before-all is not followed: ")
    with house.database.read() as session:
        (job,) = session.query(Job).filter_by(build_id=build_id)
        assert job.spec["before"] == ["sh", "-c", "pip install cython"]
        assert job.spec["environment"] == {"A": "1"}
    page = admin.get(f"/builds/{build_id}", headers={"Accept": "text/html"}).text
    assert "Not followed" in page
    assert "tool.cibuildwheel.before-all" in page
