"""Wheels of a rebuild leave the sandbox under their build number, repaired and tested as such."""

from __future__ import annotations

import io
import zipfile

import pytest

from buildfarm.wheels.facts import Expectation
from buildfarm.wheels.validate import validate
from tests.sandbox.conftest import C_PROJECT

pytestmark = pytest.mark.engine

PURE = {
    "pyproject.toml": C_PROJECT["pyproject.toml"].partition("[[")[0],
    "fastadd/__init__.py": "add = int.__add__\n",
}
TEST = {"command": ["sh", "-c", "echo {wheel}; python -c 'from fastadd import add; assert add(2, 3) == 5'"]}


@pytest.mark.parametrize(
    ("files", "ending"),
    [
        pytest.param(PURE, "py3-none-any", id="pure"),
        pytest.param(C_PROJECT, "cp311-cp311-manylinux", id="extension", marks=pytest.mark.exhaustive),
    ],
)
def test_a_wheel_has_its_number_from_the_repair_on(attempt, tmp_path, files, ending) -> None:
    outcome, farm = attempt(files, wheel_build=4, test=TEST)
    assert outcome.state == "succeeded", farm.log
    ((name, wheel),) = farm.artifacts.items()
    assert name.startswith(f"fastadd-1.2-4-{ending}")
    assert f"/in/{name}" in farm.lines_of("test")
    with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
        assert b"\nBuild: 4\n" in archive.read("fastadd-1.2.dist-info/WHEEL")
    path = tmp_path / name
    path.write_bytes(wheel)
    validate(path, Expectation(name, "fastadd", "1.2", 1 << 20, origin="build"))
    _, again = attempt(files, wheel_build=4)
    assert again.artifacts == farm.artifacts
    _, plain = attempt(files)
    assert list(plain.artifacts) == [name.replace("-4-", "-")]
