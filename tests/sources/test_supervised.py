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
    inner = (
        "import os, time; from buildfarm.sources.confine import die_with_parent; die_with_parent();"
        f"open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    )
    outer = (
        "import os, subprocess, sys, time;"
        f"subprocess.Popen([sys.executable, '-c', {inner!r}]);"
        f"\nwhile not (os.path.exists({str(tmp_path / 'pid')!r}) and open({str(tmp_path / 'pid')!r}).read()): time.sleep(.01)"
        "\nos._exit(0)"
    )
    ended = run_supervised(
        ["setsid", "--wait", sys.executable, "-c", outer],
        environment={**ENVIRONMENT, "PYTHONPATH": str(Path(__file__).parents[2])},
        stdin=b"",
        seconds=30,
    )
    assert ended.status == 0, ended.stderr
    assert _is_gone_soon(int((tmp_path / "pid").read_text()))
