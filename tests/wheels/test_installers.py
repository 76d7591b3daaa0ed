"""Sixteen hand-made wheels: what the farm says of each, and what pip and uv would have done with it.

The table is docs/validation.md's. Where an installer changes its mind, the exhaustive test says so.
"""

from __future__ import annotations

import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest


def with_record(make, change: Callable[[bytes], bytes]):
    parts = make.parts()
    parts[-1] = replace(parts[-1], data=change(parts[-1].data))
    return replace(make.wheel(), data=make.zip_bytes(parts))


def with_end(make):
    """The end record says that the directory has no bytes, so that `zipfile` sees an empty archive."""
    data = bytearray(make.wheel().data)
    struct.pack_into("<I", data, data.rindex(b"PK\5\6") + 12, 0)
    return replace(make.wheel(), data=bytes(data))


@dataclass(frozen=True)
class Case:
    """A defect, the rule that refuses it, and whether pip and uv install the wheel."""

    defect: str
    rule: str | None
    pip: bool
    uv: bool
    make: Callable


CASES = [
    Case("none", None, True, True, lambda m: m.wheel()),
    Case("wrong hash in RECORD", "W-09", True, True,
         lambda m: with_record(m, lambda data: data.replace(b"sha256=", b"sha256=A", 1))),
    Case("member missing from RECORD", "W-07", True, True,
         lambda m: with_record(m, lambda data: data.split(b"\n", 1)[1])),
    Case("RECORD lists an absent file", "W-08", True, True,
         lambda m: with_record(m, lambda data: data + m.hashed("demo/y.py", b"").encode() + b"\n")),
    Case("duplicate member name", "Z-06", True, True,
         lambda m: m.wheel(more=(m.Part("demo/__init__.py", b"evil = 1\n"),))),
    Case("WHEEL tag differs from the file name", "W-03", True, True,
         lambda m: replace(m.wheel(), filename="demo-1.0-py2.py3-none-any.whl")),
    Case("symbolic link", "Z-09", True, True,
         lambda m: m.wheel(more=(m.Part("demo/x.py", b"/etc/passwd", mode=0o120777),))),
    Case(".pth at the top", "W-11", True, True, lambda m: m.wheel(files={"evil.pth": b"import os"})),
    Case("data before the archive", "Z-01", True, True,
         lambda m: m.wheel(archive={"before": b"#!/bin/sh\n"})),
    Case("data after the archive", "Z-01", True, False, lambda m: m.wheel(archive={"after": b"x" * 30})),
    Case("member ../x", "Z-07", False, True, lambda m: m.wheel(more=(m.Part("../x.py", b""),))),
    Case("METADATA of another project", "M-04", False, False,
         lambda m: m.wheel(metadata=m.METADATA.replace("demo", "other"))),
    Case("two dist-info folders", "W-01", False, False,
         lambda m: m.wheel(files={"other-1.0.dist-info/METADATA": m.METADATA.encode()})),
    Case("local name differs from the central one", "Z-03", False, False,
         lambda m: m.wheel(more=(m.Part("demo/x.py", b"x", central={"name": "demo/y.py"}),))),
    Case("directory of no bytes", "Z-04", False, False, with_end),
    Case("script ../../evil", "W-10", False, False,
         lambda m: m.wheel(files={
             "demo-1.0.dist-info/entry_points.txt": b"[console_scripts]\n../../evil = demo:x\n"})),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=[case.defect for case in CASES])
def test_the_farm_refuses_by_the_rule_for_it(make, case):
    if case.rule is None:
        assert make.check(case.make(make)).findings == []
    else:
        assert make.refusal(case.make(make)).facts["rule"] == case.rule


def test_the_page_on_validation_shows_the_table():
    page = (Path(__file__).parents[2] / "docs" / "validation.md").read_text()
    says = {True: "installs", False: "refuses"}
    for case in CASES[1:]:
        assert f"| {case.defect} | {case.rule} | {says[case.pip]} | {says[case.uv]} |\n" in page


@pytest.mark.exhaustive
@pytest.mark.parametrize("case", CASES, ids=[case.defect for case in CASES])
def test_pip_and_uv_do_what_the_table_says(make, case, tmp_path):
    made = case.make(make)
    (tmp_path / made.filename).write_bytes(made.data)
    offline = ["--no-deps", "--no-index", "--target"]
    pip = [sys.executable, "-m", "pip", "install", "--no-cache-dir", *offline, tmp_path / "pip"]
    uv = [shutil.which("uv") or Path(sys.executable).with_name("uv"), "pip", "install", "--no-cache",
          "--python", sys.executable, *offline, tmp_path / "uv"]  # fmt: skip
    did = [
        subprocess.run([*map(str, command), made.filename], cwd=tmp_path, capture_output=True).returncode == 0
        for command in (pip, uv)
    ]
    assert did == [case.pip, case.uv]
