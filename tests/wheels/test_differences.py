"""When a rebuilt wheel came out as it was: its number aside, and what follows from it."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest

from buildfarm.wheels.differences import are_same_but_number
from tests.conftest import wheel

OLD = wheel()[1]
NUMBERED = wheel(number=3)[1]


def changed(data: bytes, member: str, **how: object) -> bytes:
    """The wheel with one member changed: `content`, `mode` or `year`."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w") as new:
        for info in old.infolist():
            content = old.read(info)
            if info.filename.endswith(member):
                content = how.get("content", content)
                info.external_attr = how.get("mode", info.external_attr >> 16) << 16
                info.date_time = (how.get("year", 2020), 1, 1, 0, 0, 0)
            new.writestr(info, content)
    return out.getvalue()


@pytest.mark.parametrize(
    ("new", "is_same"),
    [
        (OLD, True),
        (NUMBERED, True),
        (changed(NUMBERED, "__init__.py", year=2026), True),
        (changed(NUMBERED, "__init__.py", content=b"x = 2\n"), False),
        (changed(NUMBERED, "__init__.py", mode=0o100755), False),
        (changed(NUMBERED, "WHEEL", content=b"Wheel-Version: 1.0\nGenerator: newer\nBuild: 3\n"), False),
        (wheel(number=3, more=("widget/late.py",))[1], False),
        (b"no archive", False),
    ],
    ids=["bytes", "number", "time", "content", "mode", "generator", "member", "nonsense"],
)
def test_only_number_times_and_packing_may_differ(tmp_path: Path, new: bytes, is_same: bool) -> None:
    one, other = tmp_path / "one.whl", tmp_path / "other.whl"
    one.write_bytes(OLD)
    other.write_bytes(new)
    assert are_same_but_number(one, other) is is_same
    assert are_same_but_number(other, one) is is_same


def test_two_that_cannot_be_read_are_not_the_same(tmp_path: Path) -> None:
    path = tmp_path / "one.whl"
    path.write_bytes(b"no archive")
    assert not are_same_but_number(path, path)
