"""What is different from the last good build of the same source, recipe and target."""

import pytest

from buildfarm import clock
from buildfarm.farm import show
from buildfarm.farm.difference import Change, compare
from buildfarm.farm.model import Attempt, Build, Dependency, Job

T1, T2 = (f"cp31{n}-manylinux_2_28_x86_64" for n in (1, 2))


def wheel(name: str, version: str, sha256: str = "e", tag: str = "py3-none-any") -> Dependency:
    return Dependency(
        job_id="job_x", attempt=1, filename=f"{name}-{version}-{tag}.whl", ecosystem="pypi", project=name,
        sha256=sha256 * 64, version=version, origin="https://index.example", served_at=clock.now(),
    )  # fmt: skip


def crate(name: str, version: str) -> Dependency:
    return Dependency(
        job_id="job_x", attempt=1, filename=f"{name}-{version}.crate", ecosystem="cargo", project=name,
        sha256="e" * 64, version=version, origin="https://crates.example", served_at=clock.now(),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("before", "now", "changes"),
    [
        ([], [], []),
        ([wheel("a", "1")], [wheel("a", "1")], []),
        ([wheel("a", "1")], [wheel("a", "2")], [("a", "1", "2")]),
        (
            [wheel("a", "1"), crate("a", "1.0.0")],
            [wheel("a", "1"), crate("a", "1.1.0")],
            [("a (cargo)", "1.0.0", "1.1.0")],
        ),
        ([wheel("b", "1")], [wheel("a", "1")], [("a", None, "1"), ("b", "1", None)]),
        ([wheel("a", "9"), wheel("a", "10")], [wheel("a", "10")], [("a", "9, 10", "10")]),
        (
            [wheel("a", "1")],
            [wheel("a", "1", "f")],
            [("a", "a-1-py3-none-any.whl sha256:eeeeeeeeeeee", "a-1-py3-none-any.whl sha256:ffffffffffff")],
        ),
    ],
)
def test_dependencies_differ_by_version_or_else_by_file(before, now, changes):
    assert compare(before, now) == tuple(Change(*change) for change in changes)


def ended(house, target: str, state: str, *read: tuple[str, str], source: str = "", **facts: object) -> str:
    """A build of one job that has ended; the job's id."""
    _, made = house.build(source or house.home, target)
    token = house.claim(made[target])
    cause = {} if state == "succeeded" else {"cause": "user_code"}
    with house.database.begin() as session:
        attempt = session.get_one(Attempt, (made[target], 1))
        for name, version in read:
            row = wheel(name, version)
            row.job_id = attempt.job_id
            session.add(row)
        job = session.get_one(Job, attempt.job_id)
        build = session.get_one(Build, job.build_id)
        for key, value in facts.items():
            if key == "image":
                job.spec = job.spec | {"build_image": value}
            else:
                setattr(build, key, value)
    house.finish(token, state, **cause)
    return made[target]


def since_good(house, job_id: str):
    with house.database.read() as session:
        return show.job_detail(session, job_id).since_good


@pytest.fixture
def farm(each_house):
    each_house.home = each_house.source()
    return each_house


def test_a_failed_job_is_held_against_the_newest_good_one_like_it(farm):
    ended(farm, T1, "succeeded", ("setuptools", "80"), commit="1" * 40)
    good = ended(farm, T1, "succeeded", ("setuptools", "83"), ("wheel", "1"), commit="2" * 40)
    ended(farm, T2, "succeeded", commit="3" * 40)
    ended(farm, T1, "succeeded", source=farm.source("other", projects=()), commit="4" * 40)
    ended(farm, T1, "succeeded", recipe_name="other")
    ended(farm, T1, "failed", commit="5" * 40)
    bad = ended(
        farm,
        T1,
        "failed",
        ("setuptools", "84"),
        commit="6" * 40,
        recipe_sha256="d" * 64,
        image="sha256:" + "9" * 64,
    )
    ended(farm, T1, "succeeded", commit="7" * 40)

    told = since_good(farm, bad)

    assert told.job_id == good
    assert told.changes == (
        Change("commit", "2" * 40, "6" * 40),
        Change("recipe", "b" * 64, "d" * 64),
        Change("build image", "sha256:" + "1" * 64, "sha256:" + "9" * 64),
    )
    assert told.dependencies == (Change("setuptools", "83", "84"), Change("wheel", "1", None))


def test_without_a_good_one_or_a_failure_there_is_nothing_to_compare(farm):
    assert since_good(farm, ended(farm, T1, "failed")) is None
    good = ended(farm, T1, "succeeded")
    assert since_good(farm, good) is None
    same = since_good(farm, ended(farm, T1, "failed"))
    assert (same.job_id, same.changes, same.dependencies) == (good, (), ())
