"""Builds that end with exit code 0 and a wheel that is wrong: each is refused before it is published.

The projects of tests/fixtures/wrong-but-green do as real ones did; what the sandbox cannot see, the
check before publishing does, so their wheels go through it here as well.
"""

from pathlib import Path

import pytest

from buildfarm.errors import InvalidInput
from buildfarm.wheels.facts import Expectation
from buildfarm.wheels.validate import validate_in_sandbox

pytestmark = pytest.mark.engine

PROJECTS = Path(__file__).resolve().parent.parent / "fixtures" / "wrong-but-green"
#: With a path to musl's libc auditwheel takes it for any library, and puts it into a manylinux wheel.
WITH_MUSL_S_PATH = """
cd /tmp && echo 'int musl;' >musl.c
gcc -shared -nostdlib -Wl,-soname,libc.so -o libc.so musl.c
auditwheel repair --ldpaths /tmp --wheel-dir {dest_dir} {wheel}
"""


def project(name):
    return {path.name: path.read_text() for path in (PROJECTS / name).iterdir()}


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        (
            "pure-fallback",
            "The recipe expects a wheel with compiled code, but the build left green-1.0-py3-none-any.whl.",
        ),
        (
            "missing-extension",
            "green-1.0-cp311-cp311-linux_x86_64.whl is tagged for a platform but holds no compiled code.",
        ),
        (
            "musl-as-glibc",
            "green-1.0-cp311-cp311-linux_x86_64.whl holds code compiled for musl, not for glibc.",
        ),
    ],
)
def test_a_green_build_with_a_wrong_wheel_fails_its_checks(attempt, name, sentence):
    outcome, farm = attempt(project(name), expect_native=True)

    assert (outcome.state, outcome.cause) == ("failed", "checks"), farm.log
    assert outcome.first_error == sentence
    assert farm.artifacts == {}


@pytest.mark.parametrize(
    ("name", "repair", "rule", "sentence"),
    [
        ("wrong-suffix", True, "E-04", "the module's name is for aarch64, the tag for x86_64"),
        (
            "musl-as-glibc",
            ["sh", "-c", WITH_MUSL_S_PATH],
            "E-03",
            "the file needs musl, the tag is manylinux",
        ),
    ],
)
def test_a_wrong_wheel_that_auditwheel_lets_pass_is_not_published(
    attempt, tmp_path, name, repair, rule, sentence
):
    outcome, farm = attempt(project(name), repair=repair, expect_native=True)
    assert outcome.state == "succeeded", farm.log
    ((filename, data),) = farm.artifacts.items()
    (tmp_path / filename).write_bytes(data)

    with pytest.raises(InvalidInput) as refused:
        validate_in_sandbox(
            tmp_path / filename, Expectation(filename, "green", "1.0", 1 << 20, origin="build")
        )
    assert refused.value.facts["rule"] == rule
    assert sentence in refused.value.message
