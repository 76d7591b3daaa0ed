"""Images of other architectures than this host's: their contract, what runs in them, and what does not."""

import os
import platform
import socket
import subprocess
from pathlib import Path

import pytest

from buildfarm.sandbox.images import list_images
from buildfarm.sandbox.janitor import reap
from buildfarm.sandbox.prestart import refill, remember
from buildfarm.wheels.facts import Expectation
from buildfarm.wheels.validate import validate
from tests.engines import emulated_arm64
from tests.sandbox.conftest import C_PROJECT, INSTANCE, hostile_project, source_tar

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [
    pytest.mark.engine,
    pytest.mark.exhaustive,
    pytest.mark.timeout(3600),  # the first of an architecture makes its images
    pytest.mark.skipif(platform.machine() != "x86_64", reason="i386 runs on x86_64 alone"),
]


def made(engine, arch, machine):
    """What an attempt in bookworm's images of an architecture names; made where they are not there."""
    # A mirror may lag with the security updates of further architectures; nothing here needs them.
    own = {"DOCKER_HOST": engine, "BUILDFARM_DEBIAN_SECURITY_MIRROR": ""}
    script = ROOT / "docker" / "build-image.sh"
    subprocess.run([script, "bookworm", arch], env={**os.environ, **own}, check=True)
    found = {image.role: image.image_id for image in list_images(engine) if image.platform.endswith(machine)}
    return {
        "target": f"cp311-manylinux_2_36_{machine}",
        "build_image": found["builder"],
        "test_image": found["test"],
    }


@pytest.fixture(scope="session")
def i686(engine):
    return made(engine, "i386", "i686")


@pytest.fixture(scope="session")
def aarch64(engine):
    """Images of arm64, run by an emulator that is registered for as long as these tests last."""
    with emulated_arm64():
        yield made(engine, "arm64", "aarch64")


@pytest.fixture(scope="session")
def crossed(engine, aarch64):
    """The same, built on this machine by zig."""
    subprocess.run([ROOT / "docker" / "zig-images.sh"], env={**os.environ, "DOCKER_HOST": engine}, check=True)
    (builder,) = [image for image in list_images(engine) if image.platform == "manylinux_2_17_aarch64"]
    assert (builder.machine, builder.toolchain) == (platform.machine(), "zig")
    return {**aarch64, "target": f"cp311-{builder.platform}", "build_image": builder.image_id}


PROBE = "import fastadd, platform, struct; print(fastadd.add(2, 3), platform.machine(), struct.calcsize('P'))"
TEST = {"command": ["python", "-c", PROBE]}


def test_an_i686_wheel_is_built_and_tested_where_all_is_32_bit(attempt, i686):
    outcome, farm = attempt(C_PROJECT, test=TEST, **i686)

    assert outcome.state == "succeeded", farm.log
    assert list(farm.artifacts) == ["fastadd-1.2-cp311-cp311-manylinux1_i686.manylinux_2_5_i686.whl"]
    assert "5 i686 4" in farm.lines_of("test")


def test_containers_that_were_started_ahead_are_32_bit_as_well(attempt, i686, engine, spec_of, tmp_path):
    work = tmp_path / "work"
    spec = spec_of(source_tar(C_PROJECT), test=TEST, **i686)
    try:
        first, _farm = attempt(C_PROJECT, test=TEST, **i686)
        remember(spec, first, work)
        refill(docker_host=engine, workdir=work, instance=INSTANCE)
        waiting = {path.read_text() for path in work.glob("ready/*/container")}
        second, farm = attempt(C_PROJECT, test=TEST, **i686)
    finally:
        reap(engine, INSTANCE)

    assert {report.container_id for report in second.phases if report.container_id} == waiting
    assert "5 i686 4" in farm.lines_of("test")


def test_the_kernel_gives_no_way_out_by_its_32_bit_entry(attempt, i686):
    outcome, farm = attempt(hostile_project("climbs"), **i686)

    assert outcome.state == "succeeded", farm.log
    assert "REACHED" not in farm.log
    assert farm.log.count("refused ") == 51
    assert str(["0" * 16] * 5 + ["1", "2"]) in farm.log


def reaching_out(attempt, engine, images):
    """A build that looks for all that is there to be reached."""
    name = f"buildfarm-hostile-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as abstract, socket.create_server(("127.0.0.1", 0)) as port:
        abstract.bind("\0" + name)
        abstract.listen()
        environment = {
            "ABSTRACT": name,
            "FARM_PORT": str(port.getsockname()[1]),
            "ENGINE": engine.removeprefix("unix://"),
        }
        return attempt(hostile_project("reaches-out"), environment=environment, **images)


def test_no_machine_and_no_process_beside_an_i686_container_is_reached(attempt, i686, engine):
    outcome, farm = reaching_out(attempt, engine, i686)

    assert outcome.state == "succeeded", farm.log
    assert "REACHED" not in farm.log
    assert farm.log.count("refused ") == 19


def test_an_aarch64_wheel_is_built_and_tested_by_an_emulator(attempt, aarch64):
    outcome, farm = attempt(C_PROJECT, test=TEST, **aarch64)

    assert outcome.state == "succeeded", farm.log
    (name,) = farm.artifacts
    assert name == "fastadd-1.2-cp311-cp311-manylinux2014_aarch64.manylinux_2_17_aarch64.whl"
    assert "5 aarch64 8" in farm.lines_of("test")


def test_an_emulator_opens_no_way_to_the_kernel(attempt, aarch64):
    """It makes this host's calls for what runs in it, so they are refused as those of any container."""
    outcome, farm = attempt(hostile_project("climbs"), **aarch64)

    assert outcome.state == "succeeded", farm.log
    # The emulator has no name spaces to give, and does not ask the kernel.
    reached = [line for line in farm.log.splitlines() if "REACHED" in line]
    assert [line.partition("REACHED ")[2] for line in reached] == [
        "clone the kernel took it: -1, Invalid argument"
    ]


def test_no_machine_and_no_process_beside_an_emulated_container_is_reached(attempt, aarch64, engine):
    outcome, farm = reaching_out(attempt, engine, aarch64)

    assert outcome.state == "succeeded", farm.log
    assert "REACHED" not in farm.log


def test_an_aarch64_wheel_is_built_here_by_zig_and_tested_by_an_emulator(attempt, crossed, tmp_path):
    outcome, farm = attempt(C_PROJECT, test=TEST, **crossed)

    assert outcome.state == "succeeded", farm.log
    ((name, wheel),) = farm.artifacts.items()
    assert name == "fastadd-1.2-cp311-cp311-manylinux2014_aarch64.manylinux_2_17_aarch64.whl"
    (tmp_path / name).write_bytes(wheel)
    validate(tmp_path / name, Expectation(name, "fastadd", "1.2", 1 << 24, origin="build"))
    assert "5 aarch64 8" in farm.lines_of("test")
    assert "x86_64" not in farm.lines_of("test")
