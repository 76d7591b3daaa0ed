"""Wheels for three machines from one push to one host: natively, by an emulator, and by zig."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from chaos_compiled import compiled
from chaos_harness import Build, Farm

from tests.engines import emulated_arm64

pytestmark = [
    pytest.mark.system,
    pytest.mark.engine,
    pytest.mark.exhaustive,
    pytest.mark.timeout(3600),  # where no test before made the images
    pytest.mark.skipif(platform.machine() != "x86_64", reason="the images are of i386 and arm64"),
]

DOCKER = Path(__file__).parents[2] / "docker"
PLATFORMS = '["manylinux-x86_64", "manylinux-i686", "manylinux-aarch64"]'
BY_ZIG = """
[[tool.buildfarm.overrides]]
select = ["*aarch64"]
build = { toolchain = "zig" }
"""


@pytest.fixture
def machines() -> Iterator[None]:
    """Images of i386, arm64, and of zig for arm64; an emulator for as long as the test lasts."""
    with emulated_arm64():
        subprocess.run(
            [DOCKER / "build-images.sh", "--arch", "i386,arm64", "--with", "zig"],
            # A mirror may lag with the security updates of further architectures; nothing here needs them.
            env={**os.environ, "BUILDFARM_DEBIAN_SECURITY_MIRROR": ""},
            stdout=subprocess.DEVNULL,
            check=True,
        )
        yield


@pytest.mark.usefixtures("machines")
def test_one_host_builds_for_three_machines(make_farm: Callable[..., Farm]) -> None:
    farm = make_farm(options=("--emulate", "aarch64"))
    farm.start()
    source = farm.connect("fastone")
    source.repository.commit(compiled("1.0", PLATFORMS), tag="1.0")
    source.repository.commit(compiled("1.1", PLATFORMS, BY_ZIG), tag="1.1")

    def published(version: str) -> tuple[dict[str, str], list[str]]:
        """How each target was executed, and what the wheels are for."""
        started = farm.api("POST", "builds", json={"source": "fastone", "ref": f"refs/tags/{version}"})
        shown = Build(source, version, started["id"]).reaches("published", 900)
        wheels = [one["filename"] for one in shown["files"] if one["filename"].endswith(".whl")]
        made_for = sorted(name.removesuffix(".whl").rpartition("_")[2] for name in wheels)
        return {job["target"]: job["execution"] for job in shown["jobs"]}, made_for

    natively = {"cp311-manylinux_2_36_x86_64": "native", "cp311-manylinux_2_36_i686": "native"}
    wheels = ["64", "aarch64", "i686"]
    assert published("1.0") == ({**natively, "cp311-manylinux_2_36_aarch64": "emulated"}, wheels)
    assert published("1.1") == ({**natively, "cp311-manylinux_2_17_aarch64": "cross"}, wheels)
