"""Wheels of a dev build leave the sandbox under their local version, repaired and tested as such."""

from __future__ import annotations

import pytest
from packaging.utils import parse_wheel_filename

from buildfarm.wheels.facts import Expectation
from buildfarm.wheels.validate import validate
from tests.sandbox.conftest import C_PROJECT, hostile_project
from tests.sandbox.test_numbered import PURE

pytestmark = pytest.mark.engine
LABEL = "20261129092504.pr17.g012345678"
VERSION = f"1.2+{LABEL}"
STATED = "python -c \"from importlib.metadata import version; assert version('fastadd') == '%s'\""


def stating(version: str) -> dict[str, list[str]]:
    return {"command": ["sh", "-c", STATED % version]}


@pytest.mark.parametrize(
    ("files", "ending"),
    [
        pytest.param(PURE, "py3-none-any", id="pure"),
        pytest.param(C_PROJECT, "cp311-cp311-manylinux", id="extension", marks=pytest.mark.exhaustive),
    ],
)
def test_a_wheel_has_its_local_version_from_the_repair_on(attempt, tmp_path, files, ending) -> None:
    how = {"local_version": LABEL, "build_sdist": True, "test": stating(VERSION)}
    outcome, farm = attempt(files, **how)
    assert outcome.state == "succeeded", farm.log
    ((name, wheel),) = farm.artifacts.items()
    assert name.startswith(f"fastadd-{VERSION}-{ending}")
    assert "fastadd-1.2.tar.gz is not handed out" in farm.lines_of("build")
    path = tmp_path / name
    path.write_bytes(wheel)
    facts = validate(path, Expectation(name, "fastadd", VERSION, 1 << 20, origin="build"))
    assert {one.rule for one in facts.findings} <= {"N-06"}
    assert str(parse_wheel_filename(name)[1]) == facts.version == VERSION
    _, again = attempt(files, **how)
    assert again.artifacts == farm.artifacts


def test_a_version_that_is_local_already_stays_and_its_source_archive_too(attempt) -> None:
    files = PURE | {"pyproject.toml": PURE["pyproject.toml"].replace('"1.2"', '"1.3.dev4+g1a2b3c4"')}
    test = stating("1.3.dev4+g1a2b3c4")
    outcome, farm = attempt(files, local_version=LABEL, build_sdist=True, test=test)
    assert outcome.state == "succeeded", farm.log
    assert set(farm.artifacts) == {
        "fastadd-1.3.dev4+g1a2b3c4-py3-none-any.whl", "fastadd-1.3.dev4+g1a2b3c4.tar.gz",
    }  # fmt: skip


def test_a_source_archive_alone_makes_no_dev_build(attempt) -> None:
    outcome, farm = attempt(PURE, local_version=LABEL, build_sdist=True, build_wheel=False)
    assert (outcome.state, outcome.cause, farm.artifacts) == ("failed", "user_code", {})
    assert outcome.first_error.startswith("A source archive alone makes no dev build")


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", ["output-is-a-fifo", "output-is-a-link", "output-missing", "zip-bomb"])
def test_what_is_no_wheel_is_refused_as_it_is_of_a_tag(attempt, name: str) -> None:
    ends = []
    for label in (None, LABEL):
        outcome, farm = attempt(hostile_project(name), local_version=label)
        assert farm.artifacts == {}
        ends.append((outcome.state, outcome.failure_class, outcome.first_error))
    assert ends[0] == ends[1]
