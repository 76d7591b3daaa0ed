"""Which wheels serve a target."""

from __future__ import annotations

import pytest
from packaging.utils import parse_wheel_filename

from buildfarm.wheels.serving import tags_of


@pytest.mark.parametrize(
    ("wheel", "interpreter", "platform", "serves"),
    [
        ("py3-none-any", "cp313", "manylinux_2_28_x86_64", True),
        ("py3-none-any", "cp313t", "musllinux_1_2_x86_64", True),
        ("cp313-cp313-manylinux_2_28_x86_64", "cp313", "manylinux_2_28_x86_64", True),
        ("cp313-cp313-manylinux_2_17_x86_64.manylinux2014_x86_64", "cp313", "manylinux_2_28_x86_64", True),
        ("cp313-cp313-manylinux2014_x86_64", "cp313", "manylinux_2_28_x86_64", True),
        ("cp313-cp313-manylinux2014_x86_64", "cp313", "manylinux_2_12_x86_64", False),
        ("cp313-cp313-manylinux_2_34_x86_64", "cp313", "manylinux_2_28_x86_64", False),
        ("cp313-cp313-manylinux_2_28_aarch64", "cp313", "manylinux_2_28_x86_64", False),
        ("cp313-cp313-musllinux_1_2_x86_64", "cp313", "manylinux_2_28_x86_64", False),
        ("cp313-cp313-macosx_11_0_arm64", "cp313", "manylinux_2_28_x86_64", False),
        ("cp312-cp312-manylinux_2_28_x86_64", "cp313", "manylinux_2_28_x86_64", False),
        ("cp39-abi3-manylinux_2_28_x86_64", "cp313", "manylinux_2_28_x86_64", True),
        ("cp39-abi3-manylinux_2_28_x86_64", "cp313t", "manylinux_2_28_x86_64", False),
        ("cp313-cp313-manylinux_2_28_x86_64", "cp313t", "manylinux_2_28_x86_64", False),
        ("cp313-cp313t-manylinux_2_28_x86_64", "cp313t", "manylinux_2_28_x86_64", True),
        ("py3-none-manylinux_2_17_x86_64", "cp313", "manylinux_2_28_x86_64", True),
    ],
)
def test_a_wheel_serves_what_can_install_it(wheel, interpreter, platform, serves):
    tags = parse_wheel_filename(f"x-1.0-{wheel}.whl")[3]
    assert (not tags.isdisjoint(tags_of(interpreter, platform))) is serves
