"""Bytecode of what builds install: noted at one door, compiled by nobody's code, given at the next."""

import io
import resource
import tarfile
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildfarm.sandbox import bytecode
from buildfarm.sandbox.attempt import run_attempt
from buildfarm.sandbox.bytecode import Bytecode, store_of
from buildfarm.sandbox.precompile import compile_noted
from buildfarm.sandbox.prestart import Kind
from buildfarm.sandbox.spec import Limits
from tests.sandbox.conftest import C_PROJECT, INSTANCE, FakeFarm, hostile, source_tar

KIND = Kind("build", f"sha256:{'0' * 64}", "cp311", Limits())
PACK = b"a tar of bytecode"


def passed(door, *pieces):
    return b"".join(door.passing(iter(pieces)))


def taken(door):
    size, pieces = door.take()
    data = b"".join(pieces)
    assert len(data) == size
    return data


def noted(store):
    return list(store.glob("noted/*/*.whl"))


def as_compiled(store):
    """Do what the compiling container does for the one wheel that is noted."""
    (wheel,) = noted(store)
    (store / "cp311" / f"{wheel.stem}.tar").write_bytes(PACK)
    wheel.unlink()


@given(st.lists(st.binary(max_size=50), max_size=6))
def test_what_passes_is_unchanged_and_noted_whole(tmp_path_factory, pieces):
    store = tmp_path_factory.mktemp("store")
    door = Bytecode(store, KIND)
    assert passed(door, *pieces) == b"".join(pieces)
    (wheel,) = noted(store)
    assert wheel.read_bytes() == b"".join(pieces)


def test_the_pack_of_what_passed_is_given_once_and_only_at_that_door(tmp_path):
    passed(Bytecode(tmp_path, KIND), b"whe", b"el")
    as_compiled(tmp_path)
    door, other = Bytecode(tmp_path, KIND), Bytecode(tmp_path, KIND)
    passed(door, b"wheel")
    passed(other, b"another")
    assert taken(door) == PACK
    assert taken(door) == b""
    assert taken(other) == b""
    (left,) = noted(tmp_path)
    assert left.read_bytes() == b"another"


def test_a_pack_can_be_taken_as_soon_as_the_last_piece_is_there(tmp_path):
    passed(Bytecode(tmp_path, KIND), b"wheel")
    as_compiled(tmp_path)
    door = Bytecode(tmp_path, KIND)
    pieces = door.passing(iter([b"wh", b"eel"]))
    assert next(pieces) == b"wh"
    assert next(pieces) == b"eel"
    assert taken(door) == PACK


def test_what_breaks_off_or_is_too_large_is_not_noted(tmp_path, monkeypatch):
    door = Bytecode(tmp_path, KIND)
    pieces = door.passing(iter([b"half", b"half"]))
    next(pieces)
    pieces.close()
    monkeypatch.setattr(bytecode, "_LARGEST", 3)
    assert passed(door, b"larg", b"e") == b"large"
    assert list(tmp_path.glob("noted/*/*")) == []


def test_a_full_disk_is_no_reason_to_fail_a_build(tmp_path):
    door = Bytecode(tmp_path, KIND)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        assert passed(door, b"whe", b"el") == b"wheel"
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert noted(tmp_path) == []
    for folder in tmp_path.glob("noted/*"):
        folder.rmdir()
    assert passed(door, b"whe", b"el") == b"wheel"


def test_what_is_noted_has_bounded_room(tmp_path, monkeypatch):
    monkeypatch.setattr(bytecode, "ROOM", 10)
    door = Bytecode(tmp_path, KIND)
    for number in range(9):
        passed(door, b"wheel%d" % number)
    assert sum(wheel.stat().st_size for wheel in noted(tmp_path)) <= 10


#: Says what bytecode of setuptools there is, which it does not import.
LOOKS = """
import glob, sys
there = glob.glob("/work/env/lib/python*/site-packages/setuptools/__pycache__/build_meta.*.pyc")
print("bytecode:", len(there))
"""


@pytest.fixture
def build(engine, spec_of, tmp_path, wheelhouse):
    def make(files):
        source = source_tar(files)
        farm = FakeFarm(source, wheelhouse)
        workdir = tmp_path / "work"
        outcome = run_attempt(
            spec_of(source),
            farm,
            docker_host=engine,
            workdir=workdir,
            instance=INSTANCE,
            bytecode=store_of(workdir),
        )
        return outcome, farm.log, workdir

    return make


def members(pack):
    with tarfile.open(pack) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar if member.isfile()}


@pytest.mark.engine
def test_the_next_build_finds_its_backend_compiled(build, engine):
    looks = hostile(LOOKS)
    looks["pyproject.toml"] = looks["pyproject.toml"].replace("requires = []", 'requires = ["setuptools"]')
    outcome, said, workdir = build(C_PROJECT)
    assert outcome.state == "succeeded", said
    assert "bytecode: 0" in build(looks)[1]
    here = {"docker_host": engine, "workdir": workdir, "instance": INSTANCE}
    assert compile_noted(**here)
    assert not compile_noted(**here)
    assert "bytecode: 1" in build(looks)[1]
    outcome, said, _ = build(C_PROJECT)
    assert outcome.state == "succeeded", said
    assert noted(store_of(workdir)) == []


@pytest.mark.engine
def test_a_wheel_is_compiled_by_running_nothing_of_it(engine, images, tmp_path):
    store, workdir = tmp_path / "bytecode", tmp_path / "work"
    workdir.mkdir()
    kind = Kind("build", images["builder"], "cp311", Limits())
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as wheel:
        wheel.writestr("good/__init__.py", "raise SystemExit(9)\n")
        wheel.writestr("good/bad.py", "this is no Python\n")
        wheel.writestr("good/data.txt", "no module")
        wheel.writestr("../../escape.py", "1\n")
        wheel.writestr("usercustomize.py", "raise SystemExit(9)\n")
    passed(Bytecode(store, kind), data.getvalue())
    passed(Bytecode(store, kind), b"no zip at all")
    here = {"docker_host": engine, "workdir": workdir, "instance": INSTANCE}
    assert compile_noted(**here)
    assert compile_noted(**here)
    assert list(workdir.iterdir()) == []
    broken, pack = sorted((store / "cp311").iterdir(), key=lambda path: path.stat().st_size)
    assert broken.read_bytes() == b""
    made = members(pack)
    assert "./good/__pycache__/__init__.cpython-311.pyc" in made
    assert not any("bad" in name or "data" in name or ".." in name for name in made)
    assert all(data[4] == 0b11 for data in made.values()), "checked against the source (PEP 552)"
