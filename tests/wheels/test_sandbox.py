"""The child that checks files: same answers, few rights, and a sentence when it dies."""

import json
import os
import socket
import subprocess
import sys
from dataclasses import replace

import pytest

from buildfarm.wheels import validate as room
from buildfarm.wheels.facts import Expectation
from buildfarm.wheels.validate import validate, validate_in_sandbox


@pytest.fixture
def sandboxed(make):
    make.run = validate_in_sandbox
    return make


def test_the_child_finds_the_same_facts(sandboxed, tmp_path):
    wheel = sandboxed.wheel()
    facts = sandboxed.check(wheel, project="demo", version="1.0")
    assert facts == validate(tmp_path / "file", Expectation(wheel.filename, None, None, 1 << 20))


@pytest.mark.parametrize(
    ("change", "code", "status"),
    [
        ({"data": b"PK"}, "file.z-01", 400),
        ({"filename": "../evil\0.whl"}, "file.n-01", 400),
        ({"filename": "x" * 3_000_000}, "file.n-01", 400),
    ],
)
def test_the_child_refuses_as_the_function_does(sandboxed, change, code, status):
    error = sandboxed.refusal(replace(sandboxed.wheel(), **change))
    assert (error.code, error.status) == (code, status)
    assert error.message.startswith(f"{error.facts['rule']}: ")


def test_the_child_refuses_a_file_above_its_limit(sandboxed):
    error = sandboxed.refusal(sandboxed.wheel(), max_bytes=10)
    assert (error.code, error.status) == ("file.f-05", 413)


@pytest.mark.parametrize(
    "program",
    [
        pytest.param("import os; os.abort()", id="dies"),
        pytest.param("print('{}')", id="answers nonsense"),
        pytest.param("print('[' * 100000)", id="answers deep nonsense"),
        pytest.param("import time; print(1, flush=True); time.sleep(60)", id="hangs"),
        pytest.param("while True: print('x' * 4096)", id="answers without end"),
    ],
)
def test_a_child_that_fails_is_a_refusal_with_a_sentence(sandboxed, monkeypatch, tmp_path, program):
    fake = tmp_path / "buildfarm" / "wheels" / "child.py"
    fake.parent.mkdir(parents=True)
    fake.write_text(program)
    monkeypatch.setattr(room, "_PACKAGES", tmp_path)
    monkeypatch.setattr(room, "_WALL_SECONDS", 1.0)
    error = sandboxed.refusal(sandboxed.wheel())
    assert error.code == "file.v-01"
    assert "could not be checked" in error.message


PROBE = """
import json, os, resource, socket
from buildfarm.wheels.child import confine
confine()
def tried(do):
    try:
        do()
    except (OSError, MemoryError) as error:
        return type(error).__name__
    return "worked"
print(json.dumps({
    "network": tried(lambda: socket.create_connection(("127.0.0.1", int(os.environ["PORT"])), 5)),
    "interfaces": [name for _, name in socket.if_nameindex()],
    "memory": tried(lambda: bytearray(1 << 30)),
    "cpu": resource.getrlimit(resource.RLIMIT_CPU)[1],
}))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="an empty network namespace is only promised to root")
def test_the_child_has_no_network_and_little_memory():
    with socket.create_server(("127.0.0.1", 0)) as server:
        answer = subprocess.run(
            [sys.executable, "-c", PROBE],
            env={"PORT": str(server.getsockname()[1]), "PYTHONPATH": str(room._PACKAGES)},
            capture_output=True,
            check=True,
        )
    probe = json.loads(answer.stdout)
    assert probe["network"] != "worked"
    assert probe["interfaces"] == ["lo"]
    assert probe["memory"] == "MemoryError"
    assert probe["cpu"] == 30


def test_the_child_inherits_no_environment(sandboxed, monkeypatch, tmp_path):
    fake = tmp_path / "buildfarm" / "wheels" / "child.py"
    fake.parent.mkdir(parents=True)
    fake.write_text(
        "import json, os\n"
        "print(json.dumps({'refused': {'code': 'file.v-01', 'rule': '', 'hint': '', 'entry': '',"
        " 'message': ' '.join(sorted(os.environ))}}))"
    )
    monkeypatch.setenv("SECRET", "x")
    monkeypatch.setattr(room, "_PACKAGES", tmp_path)
    assert "SECRET" not in sandboxed.refusal(sandboxed.wheel()).message


def test_a_large_library_is_checked_within_the_memory_limit(sandboxed):
    member = sandboxed.Part("demo/data", b"\x7fELF" + bytes(40 << 20), method=0)
    wheel = sandboxed.wheel(tag="py3-none-manylinux_2_17_x86_64", more=(member,))
    assert [finding.entry for finding in sandboxed.check(wheel).findings] == ["demo/data"]
