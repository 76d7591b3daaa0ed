"""What a build knows of its recipe once its commit is fetched and planned."""

import subprocess
import tarfile
import time

import pytest

from buildfarm.farm import builds, claims, registry
from buildfarm.farm.model import Build, Job, Task
from buildfarm.farm.plan import Planner
from buildfarm.scm import connect
from buildfarm.sources.model import Source

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
    plan(house, build_id)
    return house, admin, build_id


def plan(house, build_id: str) -> None:
    with house.database.begin() as session:
        task = session.query(Task).filter_by(subject=build_id, kind="fetch").one()
        claims.claim(session, Task, task.id, 1)
    farm = house.farm
    planner = Planner(farm.database, farm.blobs, farm.settings, farm.upstream, farm.build_door)
    planner.run(build_id, (task.id, 1))


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


def test_a_rebuild_has_the_recipe_of_the_first_build_and_the_images_of_today(planned):
    house, _, build_id = planned
    with house.database.begin() as session:
        old = [image.image_id for image in registry.images(session)]
        images = [
            {
                "image_id": f"sha256:{digit * 64}",
                "role": role,
                "suite": "bookworm",
                "platform": PLATFORM,
                "interpreters": ["cp311"],
            }
            for role, digit in (("builder", "1"), ("test", "2"))
        ]
        registry.register_images(session, images, actor="test")
        source = session.query(Source).filter_by(name="widget").one()
        source.recipe = '[build]\nenvironment = { B = "2" }\n'
        first = session.get_one(Build, build_id)
        again = builds.start(
            session, source, ref=first.ref, commit=first.commit, trigger="rebuild", actor="ada"
        )
        again.rebuilds_id, again.wheel_build, again.not_followed = build_id, 3, first.not_followed
    plan(house, again.id)
    with house.database.read() as session:
        first, again = session.get_one(Build, build_id), session.get_one(Build, again.id)
        for same in ("recipe_sha256", "recipe_name", "not_followed", "snapshot_sha256"):
            assert getattr(again, same) == getattr(first, same), same
        (before,), (job,) = first.jobs, again.jobs
        assert before.spec["build_image"] in old
        assert job.spec["build_image"] == f"sha256:{'1' * 64}"
        assert (before.spec["build_sdist"], job.spec["build_sdist"]) == (True, False)
        assert (before.spec["environment"], job.spec["environment"]) == ({"A": "1"}, {"A": "1"})
        assert ("wheel_build" in before.spec, job.spec["wheel_build"]) == (False, 3)
        assert job.queue.endswith(".background")


BY_ZIG = """\
[targets]
interpreters = ["cp311"]
platforms = ["manylinux-x86_64", "manylinux-aarch64"]
[build]
compile_cache = true
toolchain = "zig"
glibc = "2.17"
"""


def image(digit: str, role: str, platform: str, **more) -> dict[str, object]:
    about = {"image_id": f"sha256:{digit * 64}", "role": role, "suite": "bookworm", "platform": platform}
    return {**about, "interpreters": ["cp311"], **more}


def test_a_recipe_that_asks_for_zig_gets_its_images_and_the_hosts_that_can_test_what_it_makes(planned):
    house, admin, build_id = planned
    native, foreign = "manylinux_2_17_x86_64", "manylinux_2_17_aarch64"
    images = [
        image("1", "builder", PLATFORM, machine="x86_64"),
        image("2", "test", PLATFORM, machine="x86_64"),
        image("3", "test", "manylinux_2_36_aarch64", machine="aarch64"),
        image("4", "builder", native, machine="x86_64", toolchain="zig"),
        image("5", "builder", foreign, machine="x86_64", toolchain="zig"),
    ]
    shown = admin.put("/api/v1/images", json={"images": images}).json["items"]
    assert {(row["platform"], row["toolchain"], row["machine"]) for row in shown if row["toolchain"]} == {
        (native, "zig", "x86_64"),
        (foreign, "zig", "x86_64"),
    }
    with house.database.begin() as session:
        session.query(Source).filter_by(name="widget").one().recipe = BY_ZIG
    again = admin.post("/api/v1/builds", json={"source": "widget", "ref": "main"}).json["id"]
    plan(house, again)
    with house.database.read() as session:
        jobs = {job.target: job for job in session.query(Job).filter_by(build_id=again)}
        assert sorted(jobs) == [f"cp311-{foreign}", f"cp311-{native}"]
        here, there = jobs[f"cp311-{native}"], jobs[f"cp311-{foreign}"]
        used = [(job.spec["build_image"][7], job.spec["test_image"][7]) for job in (here, there)]
        assert used == [("4", "2"), ("5", "3")]
        assert here.queue.startswith("build.manylinux-x86_64.dev.")
        assert there.queue.startswith("build.cross-aarch64.dev.")
        assert "compile_cache" not in here.spec
        (before,) = session.query(Job).filter_by(build_id=build_id)
        assert before.input_sha256 != here.input_sha256
        assert f"sha256:{'5' * 64}" not in registry.images_for(session, ["build.manylinux-aarch64.dev.hi"])
        assert registry.images_for(session, ["build.cross-aarch64.dev.hi"]) == [f"sha256:{'5' * 64}"]


def test_submodules_are_filled_in_where_the_recipe_asks(planned, tmp_path):
    house, admin, build_id = planned
    repository, library = tmp_path / "repository", tmp_path / "library"
    library.mkdir()
    (library / "lib.c").write_text("int a;\n")

    def git(folder, *command):
        who = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
        done = subprocess.run(["git", *who, *command], cwd=folder, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    for command in (["init", "-qb", "main"], ["add", "."], ["commit", "-qm", "Begin"]):
        git(library, *command)
    (repository / ".gitmodules").write_text('[submodule "x"]\n\tpath = third\n\turl = ../library\n')
    (repository / "buildfarm.toml").write_text("submodules = true\n")
    git(repository, "add", ".")
    git(
        repository,
        "update-index",
        "--add",
        "--cacheinfo",
        f"160000,{git(library, 'rev-parse', 'HEAD')},third",
    )
    git(repository, "commit", "-qm", "Add a submodule")
    again = admin.post("/api/v1/builds", json={"source": "widget", "ref": "main"}).json["id"]
    plan(house, again)
    for build, names in ((build_id, set()), (again, {"src/third/lib.c"})):
        sha256 = admin.get(f"/api/v1/builds/{build}").json["snapshot_sha256"]
        with house.farm.blobs.open(sha256) as blob, tarfile.open(fileobj=blob) as tar:
            assert {name for name in tar.getnames() if name.startswith("src/third/")} == names


def test_a_branch_makes_dev_builds_and_a_tag_of_the_same_commit_a_release(planned, tmp_path):
    house, admin, build_id = planned
    subprocess.run(["git", "tag", "v1.0"], cwd=tmp_path / "repository", check=True)
    tagged = admin.post("/api/v1/builds", json={"source": "widget", "ref": "v1.0"}).json["id"]
    plan(house, tagged)
    with house.database.read() as session:
        branch, tag = (session.query(Job).filter_by(build_id=one).one() for one in (build_id, tagged))
        assert branch.build.commit == tag.build.commit
        committed = time.strftime("%Y%m%d%H%M%S", time.gmtime(branch.build.commit_time))
        assert branch.spec["local_version"] == f"{committed}.g{branch.build.commit[:9]}"
        assert "local_version" not in tag.spec
        assert branch.input_sha256 != tag.input_sha256


def test_a_build_of_a_commit_after_2038_is_kept(each_house):
    build_id, _ = each_house.build(each_house.source())
    with each_house.database.begin() as session:
        session.get_one(Build, build_id).commit_time = 3 << 30
    with each_house.database.read() as session:
        assert session.get_one(Build, build_id).commit_time == 3 << 30
