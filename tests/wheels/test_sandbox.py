"""The child that checks files: same answers, few rights, and a sentence when it dies."""

import contextlib
import json
import os
import resource
import signal
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from buildfarm.errors import InvalidInput
from buildfarm.forkserver import ForkServer
from buildfarm.wheels import validate as room
from buildfarm.wheels.facts import Expectation
from buildfarm.wheels.validate import validate, validate_in_sandbox
from tests.waiting import wait_for

PACKAGES = Path(__file__).parents[2]
#: The real child, whose answer for a file is made by another function.
PROGRAM = """
import sys
for name in [name for name in sys.modules if name.startswith("buildfarm")]:
    del sys.modules[name]
sys.path[0] = {packages!r}
import json, os, resource, signal, socket, time
from buildfarm.wheels import checking, child
def answer_for(file, expectation):
    {body}
def say(what):
    refused = dict(code="file.v-01", message=json.dumps(what), hint="", rule="", entry="")
    return json.dumps(dict(refused=refused))
def tried(do):
    try:
        do()
    except (OSError, MemoryError) as error:
        return type(error).__name__
    return "worked"
confine = child.confine
def then_replaced():
    confine()
    checking.answer_for = answer_for
child.confine = then_replaced
checking.main()
"""


@pytest.fixture
def sandboxed(make):
    make.run = validate_in_sandbox
    return make


@pytest.fixture
def child_that(monkeypatch, tmp_path):
    """Replaces what the child does about a file."""
    sandboxes = []

    def replaced(body, *, wall_seconds=20.0, program=PROGRAM):
        fake = tmp_path / "buildfarm" / "wheels" / "checking.py"
        fake.parent.mkdir(parents=True)
        fake.write_text(program.format(packages=str(PACKAGES), body=body))
        sandboxes.append(ForkServer("buildfarm.wheels.checking", tmp_path, wall_seconds))
        monkeypatch.setattr(room, "sandbox", sandboxes[-1])

    yield replaced
    for sandbox in sandboxes:
        sandbox.close()


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
    "body",
    [
        pytest.param("os.abort()", id="dies"),
        pytest.param("return '{{}}'", id="answers nonsense"),
        pytest.param("return '[' * 100000", id="answers deep nonsense"),
        pytest.param("return json.dumps(dict(refused=dict(code=[])))", id="refuses in a form of its own"),
        pytest.param("time.sleep(60)", id="hangs"),
        pytest.param("return 'x' * (40 << 20)", id="answers without end"),
        pytest.param("bytearray(1 << 30)", id="wants memory"),
        pytest.param("resource.setrlimit(resource.RLIMIT_CPU, (1, 1))\n    while True: pass", id="spins"),
    ],
)
def test_a_child_that_fails_is_no_verdict_and_has_a_sentence(sandboxed, child_that, body):
    child_that(body, wall_seconds=2.0)
    error = sandboxed.refusal(sandboxed.wheel())
    assert (error.code, error.status) == ("file.v-01", 503)
    assert "could not be checked" in error.message


def test_a_check_that_says_itself_that_it_takes_too_long_is_no_verdict_either(sandboxed, child_that):
    child_that('return say("slow")')
    error = sandboxed.refusal(sandboxed.wheel())
    assert (error.code, error.status, error.message) == ("file.v-01", 503, '"slow"')


def test_a_child_that_hangs_is_ended(sandboxed, child_that):
    child_that("time.sleep(60)", wall_seconds=1.0)
    sandboxed.refusal(sandboxed.wheel())
    forking = room.sandbox._process.pid
    wait_for(lambda: not Path(f"/proc/{forking}/task/{forking}/children").read_text(), seconds=20)


def test_a_forking_process_that_cannot_start_is_no_verdict(sandboxed, child_that):
    child_that("", program="raise SystemExit(1)")
    assert sandboxed.refusal(sandboxed.wheel()).code == "file.v-01"


def test_a_forking_process_that_was_killed_is_replaced(sandboxed):
    good = sandboxed.wheel()
    facts = sandboxed.check(good)
    room.sandbox._process.send_signal(signal.SIGKILL)
    room.sandbox._process.wait()
    assert sandboxed.check(good) == facts


def test_a_forked_process_starts_its_own(sandboxed):
    sandboxed.check(sandboxed.wheel())
    pid = os.fork()
    if pid == 0:
        os._exit(0 if room.sandbox._process is None else 1)
    assert os.waitpid(pid, 0)[1] == 0
    assert room.sandbox._process is not None


def test_a_process_with_thousands_of_connections_checks_files(sandboxed):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    with contextlib.ExitStack() as many:
        many.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        while many.enter_context(open(os.devnull)).fileno() <= 1024:  # what select(2) can name
            pass
        assert sandboxed.check(sandboxed.wheel())


def test_many_threads_share_one_forking_process(make, tmp_path):
    paths = []
    for number in range(12):
        paths.append(tmp_path / str(number))
        paths[-1].write_bytes(make.wheel(files={f"demo/x{number}.py": b""}).data)
    start = threading.Barrier(4)

    def check(path):
        if path.name in "0123":
            start.wait(60)
        return validate_in_sandbox(path, Expectation("demo-1.0-py3-none-any.whl", None, None, 1 << 20)).sha256

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(check, paths))
    assert len(set(found)) == 12


PROBE = """return say({{
        "network": tried(lambda: socket.create_connection(("127.0.0.1", int(expectation.version)), 5)),
        "interfaces": [name for _, name in socket.if_nameindex()],
        "memory": tried(lambda: bytearray(256 << 20)),
        "cpu": resource.getrlimit(resource.RLIMIT_CPU),
        "user": os.getuid(), "groups": os.getgroups(),
        "environment": sorted(os.environ),
        "descriptors": len(os.listdir("/proc/self/fd")),
        "keys": tried(lambda: open({secret!r})),
    }})"""


@pytest.mark.skipif(os.geteuid() != 0, reason="an empty network namespace is only promised to root")
def test_the_child_has_no_network_no_rights_and_little_memory(sandboxed, child_that, monkeypatch, tmp_path):
    secret = tmp_path / "key"
    secret.touch(mode=0o600)
    monkeypatch.setenv("SECRET", "x")
    child_that(PROBE.replace("{secret!r}", repr(str(secret))).replace("{{", "{").replace("}}", "}"))
    with socket.create_server(("127.0.0.1", 0)) as server:
        error = sandboxed.refusal(sandboxed.wheel(), version=str(server.getsockname()[1]))
    probe = json.loads(error.message)
    assert probe["network"] != "worked"
    assert probe["interfaces"] == ["lo"]
    assert probe["memory"] == "MemoryError"
    assert probe["cpu"] == [20, 20]
    assert probe["user"] != 0
    assert probe["groups"] == []
    assert probe["environment"] == ["LC_ALL"]
    assert probe["descriptors"] <= 7
    assert probe["keys"] == "PermissionError"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's child becomes another user")
def test_the_program_may_lie_where_the_childs_user_cannot_read(
    sandboxed, compile_c, monkeypatch, closed_program
):
    sandbox = ForkServer("buildfarm.wheels.checking", closed_program)
    monkeypatch.setattr(room, "sandbox", sandbox)
    code = compile_c(needs="libc.so.6")
    try:
        for tag, module in (
            ("cp311-cp311-manylinux_2_17_x86_64", "demo/_fast.cpython-311-x86_64-linux-gnu.so"),
            ("cp39-abi3-manylinux_2_17_x86_64", "demo/_fast.abi3.so"),
            ("cp311-cp311-musllinux_1_2_x86_64", "demo/_fast.so"),
            ("cp311-cp311-win_amd64", "demo/_fast.pyd"),
        ):
            wheel = sandboxed.wheel(tag=tag, files={module: code})
            monkeypatch.setattr(sandboxed, "run", validate)
            try:
                facts = sandboxed.check(wheel)
            except InvalidInput as error:
                facts = error.code
            monkeypatch.setattr(sandboxed, "run", validate_in_sandbox)
            if isinstance(facts, str):
                assert sandboxed.refusal(wheel).code == facts
            else:
                assert sandboxed.check(wheel).findings == facts.findings
        assert sandboxed.check(sandboxed.sdist())
    finally:
        sandbox.close()


def test_a_child_serves_one_file(sandboxed, child_that):
    child_that("global seen; seen = globals().get('seen', 0) + 1; return say(seen)")
    for _ in range(3):
        assert json.loads(sandboxed.refusal(sandboxed.wheel()).message) == 1


def test_a_large_library_is_checked_within_the_memory_limit(sandboxed):
    member = sandboxed.Part("demo/data", b"\x7fELF" + bytes(40 << 20), method=0)
    wheel = sandboxed.wheel(tag="py3-none-manylinux_2_17_x86_64", more=(member,))
    assert [finding.entry for finding in sandboxed.check(wheel).findings] == ["demo/data"]
