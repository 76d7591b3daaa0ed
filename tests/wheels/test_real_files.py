"""Files that the world installs every day are accepted, by the function and by the child."""

import subprocess
import sys

import pytest

from buildfarm.errors import FarmError
from buildfarm.wheels.facts import Expectation
from buildfarm.wheels.validate import validate, validate_in_sandbox

pytestmark = [pytest.mark.system, pytest.mark.exhaustive, pytest.mark.timeout(600)]

WHEELS = [
    "markupsafe",
    "pyyaml",
    "cffi",
    "greenlet",
    "cryptography",
    "psutil",
    "idna",
    "attrs",
    "flask",
    "pip",
]
SDISTS = ["markupsafe", "pyyaml", "idna", "six", "packaging"]
FOREIGN = ["musllinux_1_2_x86_64", "manylinux2014_aarch64", "win_amd64", "macosx_11_0_arm64"]


def download(folder, *arguments):
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(folder), *arguments]
    subprocess.run(command, check=True, capture_output=True)


@pytest.fixture(scope="module")
def real_files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("real")
    download(folder, "--only-binary=:all:", *WHEELS)
    for platform in FOREIGN:
        download(folder, "--only-binary=:all:", f"--platform={platform}", "markupsafe")
    for project in SDISTS:
        download(folder, f"--no-binary={project}", project)
    return sorted(folder.iterdir())


def test_real_wheels_and_sdists_are_accepted(real_files):
    assert len(real_files) == len(WHEELS) + len(FOREIGN) + len(SDISTS)
    for path in real_files:
        expectation = Expectation(path.name, None, None, 1 << 30)
        facts = validate(path, expectation)
        assert facts.is_native == ("-any" not in path.name and facts.kind == "wheel")
        assert {finding.rule for finding in facts.findings} <= {"M-03", "S-07"}
        assert validate_in_sandbox(path, expectation) == facts


def test_a_real_wheel_under_a_tag_it_does_not_keep_is_refused(real_files):
    path = next(path for path in real_files if "musllinux" in path.name)
    renamed = path.name.replace("musllinux_1_2", "manylinux_2_17")
    with pytest.raises(FarmError, match="E-04"):
        validate(path, Expectation(renamed, None, None, 1 << 30))
