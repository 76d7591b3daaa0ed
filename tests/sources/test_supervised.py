"""A child and all its descendants end with its time."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from buildfarm.sources.supervised import run_supervised

ENVIRONMENT = {"PATH": os.environ["PATH"]}


def _is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def _is_gone_soon(pid: int) -> bool:
    deadline = time.monotonic() + 5
    while _is_running(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not _is_running(pid)


def test_a_child_out_of_time_is_killed_with_its_descendants(tmp_path: Path):
    script = f"trap '' TERM INT HUP; sleep 600 & echo $! > {tmp_path}/pid; wait"
    started = time.monotonic()
    ended = run_supervised(["sh", "-c", script], environment=ENVIRONMENT, stdin=b"", seconds=0.7)
    assert ended.timed_out
    assert time.monotonic() - started < 5
    assert _is_gone_soon(int((tmp_path / "pid").read_text()))


def test_what_a_child_leaves_behind_ends_with_it(tmp_path: Path):
    script = f"sleep 600 >/dev/null 2>&1 & echo $! > {tmp_path}/pid; echo done"
    ended = run_supervised(["sh", "-c", script], environment=ENVIRONMENT, stdin=b"", seconds=30)
    assert (ended.timed_out, ended.status, ended.stdout) == (False, 0, b"done\n")
    assert _is_gone_soon(int((tmp_path / "pid").read_text()))


def test_a_child_sees_only_the_environment_it_is_given():
    ended = run_supervised(["env"], environment={"ONLY": "this", **ENVIRONMENT}, stdin=b"", seconds=30)
    assert b"ONLY=this" in ended.stdout
    assert b"HOME=" not in ended.stdout


def test_endless_errors_are_read_and_bounded():
    ended = run_supervised(
        ["sh", "-c", "cat; head -c 300000 /dev/zero >&2"], environment=ENVIRONMENT, stdin=b"hello", seconds=30
    )
    assert ended.stdout == b"hello"
    assert len(ended.stderr) == 64 << 10


def test_the_kernel_ends_a_fetcher_whose_parent_dies(tmp_path: Path):
    told = tmp_path / "pid"
    inner = tmp_path / "inner.py"
    inner.write_text(
        "import os, time\n"
        "from buildfarm.sources.confine import die_with_parent\n"
        "die_with_parent()\n"
        f"open({str(told)!r}, 'w').write(f'{{os.getpid()}} ')\n"
        "time.sleep(600)\n"
    )
    outer = (
        "import os, subprocess, sys, time\n"
        f"subprocess.Popen([sys.executable, {str(inner)!r}])\n"
        f"while not (os.path.exists({str(told)!r}) and open({str(told)!r}).read().endswith(' ')):\n"
        "    time.sleep(.01)\n"
        "os._exit(0)\n"
    )
    ended = run_supervised(
        ["setsid", "--wait", sys.executable, "-c", outer],
        environment={**ENVIRONMENT, "PYTHONPATH": str(Path(__file__).parents[2])},
        stdin=b"",
        seconds=30,
    )
    assert ended.status == 0, ended.stderr
    assert _is_gone_soon(int((tmp_path / "pid").read_text()))
