"""The supervisor against real processes; every wait is on a condition."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from buildfarm.processes import session_members
from tests.waiting import wait_for

TREE = Path(__file__).with_name("tree.py")

SLEEPER = "import time\nprint('up', flush=True)\ntime.sleep(600)"
STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
open('stubborn', 'w')
time.sleep(600)
"""
BRIEF = "import os, time\nif not os.path.exists('go'): time.sleep(600)\nraise SystemExit(1)"
# A child with a grandchild in its own process group, as an RQ worker has; both write down their pids.
FAMILY = """
import os, subprocess, sys, time
kid = subprocess.Popen(
    [sys.executable, '-c', 'import signal, time\\nsignal.signal(15, signal.SIG_IGN)\\ntime.sleep(600)'],
    process_group=0,
)
open('kid.new', 'w').write(str(kid.pid)); os.rename('kid.new', 'kid')
time.sleep(600)
"""


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


class Tree:
    """A supervisor in a process of its own."""

    def __init__(self, folder: Path, spec: dict, **env: str) -> None:
        self.folder = folder
        self.output = folder / "events"
        (folder / "spec.json").write_text(json.dumps(spec))
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, str(TREE), str(folder / "spec.json")],
                stdout=output,
                env=dict(os.environ, **env),
            )

    def events(self, event: str | None = None) -> list[dict]:
        lines = [
            json.loads(line) for line in self.output.read_text().splitlines(keepends=True) if line[-1] == "\n"
        ]
        return [line for line in lines if event in (None, line["event"])]

    def wait_event(self, event: str, count: int = 1, seconds: float = 60.0) -> dict:
        wait_for(lambda: len(self.events(event)) >= count, f"{event} x{count}", seconds)
        return self.events(event)[count - 1]

    def wait_kid(self) -> int:
        file = self.folder / "kid"
        wait_for(file.exists, "the grandchild")
        return int(file.read_text())

    def pids(self) -> list[int]:
        return [line["pid"] for line in self.events("started")]

    def status(self) -> dict[str, dict]:
        return {row["name"]: row for row in json.loads((self.folder / "status.json").read_text())["children"]}

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def end(self, seconds: float = 60.0) -> int:
        return self.process.wait(seconds)


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Callable[..., Tree]]:
    trees: list[Tree] = []

    def make(spec: dict, **env: str) -> Tree:
        trees.append(Tree(tmp_path, spec, **env))
        return trees[-1]

    yield make
    for one in trees:
        if one.process.poll() is None:
            one.process.kill()
            one.process.wait()
        for pid in one.pids():
            for member in session_members(pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(member, signal.SIGKILL)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_all_and_the_exit_code_is_0(tree, number):
    farm = tree({"a": {"code": SLEEPER}, "b": {"code": SLEEPER}})
    farm.wait_event("up")
    farm.signal(number)
    assert farm.end() == 0
    assert not any(alive(pid) for pid in farm.pids())
    assert {row["state"] for row in farm.status().values()} == {"stopped"}
    assert {row["pid"] for row in farm.status().values()} == {None}


def test_children_start_in_order_each_group_when_the_one_before_is_ready_and_stop_in_reverse(tree):
    base = "import time\ntime.sleep(0.3)\nopen('base-ready', 'w')\ntime.sleep(600)"
    farm = tree(
        {
            "top": {"code": SLEEPER, "order": 2},
            "base": {"code": base, "order": 1, "ready_file": "base-ready"},
        }
    )
    farm.wait_event("up")
    farm.signal(signal.SIGTERM)
    assert farm.end() == 0
    told = [(line["event"], line["child"]) for line in farm.events() if line["event"] not in ("up", "killed")]
    assert told == [
        ("started", "base"),
        ("ready", "base"),
        ("started", "top"),
        ("stopping", "top"),
        ("stopped", "top"),
        ("stopping", "base"),
        ("stopped", "base"),
    ]


def test_kill_9_of_the_supervisor_leaves_nothing_of_the_tree(tree):
    farm = tree({"family": {"code": FAMILY}, "plain": {"code": SLEEPER}, "stubborn": {"code": STUBBORN}})
    farm.wait_event("up")
    kid = int(
        wait_for(
            lambda: (farm.folder / "kid").exists() and (farm.folder / "kid").read_text(), "the grandchild"
        )
    )
    wait_for((farm.folder / "stubborn").exists, "the stubborn one")
    farm.signal(signal.SIGKILL)
    farm.end()
    for pid in (*farm.pids(), kid):
        wait_for(lambda pid=pid: not alive(pid), f"the end of {pid}")


def test_the_guard_too_ends_with_the_supervisor_and_is_started_anew_when_killed(tree):
    farm = tree({"family": {"code": FAMILY}, "victim": {"code": SLEEPER}})
    farm.wait_event("up")
    kid = int(
        wait_for(
            lambda: (farm.folder / "kid").exists() and (farm.folder / "kid").read_text(), "the grandchild"
        )
    )
    (guard,) = guards(farm.process.pid)
    os.kill(guard, signal.SIGKILL)
    second = farm.wait_event("guard_restarted")["pid"]
    wait_for(lambda: guards(farm.process.pid) == [second], "the second guard")
    farm.signal(signal.SIGKILL)
    farm.end()
    wait_for(lambda: not alive(kid), "the end of the grandchild")
    wait_for(lambda: not alive(second), "the end of the guard")


def guards(parent: int) -> list[int]:
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return [
        int(pid) for pid in children if b"buildfarm.cli.guard" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]


def test_a_grandchild_that_outlives_its_parent_is_ended_at_the_stop(tree):
    farm = tree({"family": {"code": FAMILY, "grace": 0.5}})
    farm.wait_event("up")
    kid = int(
        wait_for(
            lambda: (farm.folder / "kid").exists() and (farm.folder / "kid").read_text(), "the grandchild"
        )
    )
    farm.signal(signal.SIGTERM)
    assert farm.end() == 0
    assert not alive(kid)


def test_a_child_that_ignores_sigterm_is_killed_after_its_grace(tree):
    farm = tree({"stubborn": {"code": STUBBORN, "grace": 0.5, "ready_file": "stubborn"}})
    farm.wait_event("up")
    began = time.monotonic()
    farm.signal(signal.SIGTERM)
    assert farm.end() == 0
    assert 0.5 <= time.monotonic() - began < 9  # the stop of a child that does not say otherwise: 10
    assert farm.events("killed")[0]["child"] == "stubborn"
    assert not any(alive(pid) for pid in farm.pids())


def test_a_second_signal_a_second_later_ends_the_grace_and_the_exit_code_is_still_0(tree):
    farm = tree({"stubborn": {"code": STUBBORN, "grace": 60, "ready_file": "stubborn"}})
    farm.wait_event("up")
    began = time.monotonic()
    farm.signal(signal.SIGTERM)
    farm.wait_event("stopping")
    while farm.process.poll() is None and time.monotonic() - began < 30:
        farm.signal(signal.SIGTERM)
        time.sleep(0.2)
    assert farm.end() == 0
    assert 0.9 <= time.monotonic() - began < 30


def test_a_child_that_dies_at_start_is_named_with_the_last_lines_of_its_log(tree):
    farm = tree(
        {
            "good": {"code": SLEEPER, "order": 0},
            "bad": {
                "code": "print('no such table: build'); raise SystemExit(3)",
                "order": 1,
                "ready_file": "never",
            },
        }
    )
    assert farm.end() == 2
    (refusal,) = farm.events("refused")
    assert refusal["message"] == "The bad process ended while starting: exit code 3."
    assert refusal["code"] == "child.not_ready"
    assert refusal["log"] == ["no such table: build"]
    assert not any(alive(pid) for pid in farm.pids())


def test_a_program_that_does_not_exist_is_an_environment_problem_that_leaves_nothing(tmp_path):
    from buildfarm.cli.supervise import Child, Supervisor
    from buildfarm.errors import EnvironmentProblem

    argv = [sys.executable, "-c", SLEEPER]
    children = [
        Child("good", argv, dict(os.environ), tmp_path, tmp_path / "good.log"),
        Child("absent", [str(tmp_path / "absent")], {}, tmp_path, tmp_path / "absent.log", order=1),
    ]
    events: list[tuple[str, dict]] = []
    supervisor = Supervisor(
        children, on_event=lambda *event: events.append(event), status_path=tmp_path / "status.json"
    )
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    with pytest.raises(EnvironmentProblem, match="The absent process cannot be started") as caught:
        supervisor.start(5)
    assert caught.value.code == "child.not_started"
    assert not any(alive(facts["pid"]) for event, facts in events if event == "started")
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before


def test_a_child_that_is_not_ready_in_time_is_named(tree):
    farm = tree({"slow": {"code": SLEEPER, "ready_file": "never"}}, DEADLINE="0.5")
    assert farm.end() == 2
    assert farm.events("refused")[0]["message"] == "The slow process was not ready in time."
    assert not any(alive(pid) for pid in farm.pids())


def test_a_signal_while_starting_ends_all_with_exit_code_0(tree):
    farm = tree({"slow": {"code": SLEEPER, "ready_file": "never"}}, DEADLINE="60")
    farm.wait_event("started")
    farm.signal(signal.SIGTERM)
    assert farm.end() == 0
    assert not farm.events("up")
    assert not any(alive(pid) for pid in farm.pids())


def test_a_killed_child_is_started_again_and_the_status_file_says_so(tree):
    farm = tree({"victim": {"code": SLEEPER}, "bystander": {"code": SLEEPER}})
    farm.wait_event("up")
    first = farm.status()
    os.kill(first["victim"]["pid"], signal.SIGKILL)
    assert farm.wait_event("died") == {
        "event": "died",
        "child": "victim",
        "reason": "signal 9",
        "retry_in_s": 0.5,
    }
    farm.wait_event("started", count=3)
    wait_for(lambda: farm.status()["victim"]["state"] == "running", "the status file to say so")
    second = farm.status()
    assert second["victim"]["pid"] != first["victim"]["pid"]
    assert alive(second["victim"]["pid"])
    assert (second["victim"]["state"], second["victim"]["restarts"]) == ("running", 1)
    assert second["bystander"] == first["bystander"]


def test_what_a_dead_child_left_running_is_ended_before_it_is_started_again(tree):
    farm = tree({"family": {"code": FAMILY}})
    farm.wait_event("up")
    kid = int(
        wait_for(
            lambda: (farm.folder / "kid").exists() and (farm.folder / "kid").read_text(), "the grandchild"
        )
    )
    os.kill(farm.pids()[0], signal.SIGKILL)
    farm.wait_event("started", count=2)
    assert not alive(kid)


def test_the_wait_before_a_restart_doubles(tree):
    farm = tree(
        {"brief": {"code": "import os; os.path.exists('go') or __import__('time').sleep(600); exit(1)"}}
    )
    farm.wait_event("up")
    (farm.folder / "go").touch()
    os.kill(farm.pids()[0], signal.SIGKILL)
    farm.wait_event("died", count=3)
    assert [line["retry_in_s"] for line in farm.events("died")][:3] == [0.5, 1.0, 2.0]


def test_the_sixth_death_within_a_minute_is_flapping():
    from buildfarm.cli import supervise

    events: list[tuple[str, dict]] = []
    child = supervise.Child("brief", ["false"], {}, Path("/"), Path("/dev/null"))
    supervisor = supervise.Supervisor(
        [child], on_event=lambda *event: events.append(event), status_path=Path("/nonexistent/status.json")
    )
    slot = supervisor._slots[0]
    slot.started = time.monotonic()
    for _ in range(6):
        supervisor._mourn(slot, reason="exit code 1")
    died = [facts["retry_in_s"] for event, facts in events if event == "died"]
    assert died == [0.5, 1.0, 2.0, 4.0, 8.0, 30.0]
    assert ("flapping", {"child": "brief", "deaths_in_a_minute": 6}) in events
    slot.started = time.monotonic() - 61
    slot.deaths.clear()
    supervisor._mourn(slot, reason="exit code 1")
    assert events[-1][1]["retry_in_s"] == 0.5


def test_children_are_started_with_no_signal_blocked_and_in_a_session_of_their_own(tree):
    farm = tree({"a": {"code": SLEEPER}})
    farm.wait_event("up")
    status = dict(
        line.split(":\t", 1)
        for line in Path(f"/proc/{farm.pids()[0]}/status").read_text().splitlines()
        if ":\t" in line
    )
    assert int(status["SigBlk"], 16) == 0
    assert session_members(farm.pids()[0]) == farm.pids()
