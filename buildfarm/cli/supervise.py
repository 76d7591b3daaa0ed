"""A small process supervisor: start in order, restart what dies, stop in reverse, leave nothing.

Used by `buildfarm up` alone; appliances have systemd. One thread, which must be the main one: it
waits for signals (`sigtimedwait`) rather than handling them, so nothing is ever interrupted in the
middle of a change, and the kernel's parent-death signal, which follows threads, stays true.
"""

from __future__ import annotations

import collections
import contextlib
import itertools
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from signal import SIGCHLD, SIGINT, SIGTERM

from buildfarm import clock
from buildfarm.cli.guard import Guard
from buildfarm.errors import EnvironmentProblem
from buildfarm.processes import bound_to_this_process, kill_session, session_members

_FIRST_DELAY_S = 0.5
_LONGEST_DELAY_S = 30.0
_MINUTE_S = 60.0
_FLAPPING_DEATHS = 5
_SECOND_SIGNAL_S = 1.0
_LOG_LINES = 15

#: Called with an event slug and its facts: `started ready died flapping stopping killed stopped`.
Report = Callable[[str, dict[str, object]], None]


@dataclass(frozen=True)
class Child:
    """One program to keep running.

    `ready` answers whether it serves already, quickly and without raising; without one a started
    program counts as ready. Children of equal `order` start together, higher ones when all lower
    ones are ready; they stop in reverse. Output is appended to `log_path`.
    """

    name: str
    argv: list[str]
    env: dict[str, str]
    cwd: Path
    log_path: Path
    order: int = 0
    ready: Callable[[], bool] | None = None
    stop_signal: signal.Signals = SIGTERM
    stop_grace_s: float = 10.0


@dataclass
class _Slot:
    """What the supervisor knows about a child now."""

    child: Child
    state: str = "waiting"
    since: datetime = field(default_factory=clock.now)
    restarts: int = 0
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    due: float = 0.0
    delay: float = _FIRST_DELAY_S
    deaths: collections.deque[float] = field(default_factory=lambda: collections.deque(maxlen=64))

    def enter(self, state: str) -> None:
        self.state, self.since = state, clock.now()

    @property
    def pid(self) -> int | None:
        return self.process.pid if self.process else None


class Supervisor:
    """Keeps a list of children running until it is told to end.

    `start()` and then `run()`, both from the main thread. From `start()` on SIGTERM, SIGINT and
    SIGCHLD are blocked in this thread, and stay so after `run()`: the process is expected to exit.
    """

    def __init__(self, children: Sequence[Child], *, on_event: Report, status_path: Path) -> None:
        self._slots = [_Slot(child) for child in sorted(children, key=lambda child: child.order)]
        self._report = on_event
        self._status_path = status_path
        self._hurried = False
        self._guard: Guard | None = None

    def start(self, deadline_s: float) -> None:
        """Start all children and wait until all are ready.

        Args:
            deadline_s: seconds for all of them together.

        Raises:
            EnvironmentProblem: a child ended or was not ready in time (`child.not_ready`); the
                message names it, `facts["log"]` and the hint hold its last lines. Nothing is left.
            SystemExit: with 0, when SIGTERM or SIGINT came; nothing is left.
        """
        end = time.monotonic() + deadline_s
        old_mask = signal.pthread_sigmask(signal.SIG_BLOCK, {SIGTERM, SIGINT, SIGCHLD})
        try:
            self._guard = Guard()
            for group in self._groups(self._slots):
                for slot in group:
                    self._spawn(slot)
                self._await_ready(group, end)
        except BaseException as error:
            self._stop()
            if not isinstance(error, SystemExit):
                signal.pthread_sigmask(signal.SIG_SETMASK, old_mask)
            raise

    def run(self) -> int:
        """Keep the children running until SIGTERM or SIGINT; the exit code, 0.

        A child that dies is started again after 0.5 s, doubling to 30 s; a minute of life resets
        that. More than 5 deaths within a minute are reported as `flapping` and wait 30 s. A second
        signal, a second or more after the first, ends the children's time to end by themselves.
        """
        try:
            while self._next_signal(self._pause()) not in (SIGTERM, SIGINT):
                if self._guard is not None and self._guard.revive():
                    self._report("guard_restarted", {"pid": self._guard.pid})
                for slot in self._slots:
                    self._attend(slot)
        finally:
            self._stop()
        return 0

    def status(self) -> dict[str, object]:
        """What the status file says: our own pid, and of each child name, pid, state, restarts, since."""
        return {
            "pid": os.getpid(),
            "children": [
                {
                    "name": slot.child.name,
                    "pid": slot.pid,
                    "state": slot.state,
                    "restarts": slot.restarts,
                    "since": clock.iso(slot.since),
                }
                for slot in self._slots
            ],
        }

    # -- one child ------------------------------------------------------------------------------

    def _spawn(self, slot: _Slot) -> None:
        child = slot.child
        slot.started = time.monotonic()
        child.log_path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with child.log_path.open("ab") as log:
                slot.process = subprocess.Popen(
                    child.argv,
                    cwd=child.cwd,
                    env=child.env,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    # There is one thread here, so running code between fork and exec is safe.
                    preexec_fn=bound_to_this_process(),
                )
        except OSError as error:
            raise EnvironmentProblem(
                f"The {child.name} process cannot be started: {error}.",
                code="child.not_started",
                child=child.name,
            ) from error
        if self._guard is not None:
            self._guard.cover(slot.process.pid)
        self._enter(slot, "starting" if child.ready else "running", "started", pid=slot.process.pid)

    def _attend(self, slot: _Slot) -> None:
        """Whatever this child needs now: burying, starting, being called ready."""
        if slot.process is None:
            if time.monotonic() >= slot.due:
                slot.restarts += 1
                try:
                    self._spawn(slot)
                except EnvironmentProblem as problem:
                    self._mourn(slot, reason=problem.message)
        elif (code := slot.process.poll()) is not None:
            self._clear_session(slot)
            self._mourn(slot, reason=_how_it_ended(code))
        elif slot.state == "starting" and slot.child.ready is not None and slot.child.ready():
            self._enter(slot, "running", "ready", pid=slot.process.pid)

    def _mourn(self, slot: _Slot, *, reason: str) -> None:
        """Note a death and when to try again."""
        now = time.monotonic()
        if now - slot.started >= _MINUTE_S:
            slot.delay = _FIRST_DELAY_S
        slot.deaths.append(now)
        recent = sum(1 for moment in slot.deaths if now - moment <= _MINUTE_S)
        delay = slot.delay
        slot.delay = min(slot.delay * 2, _LONGEST_DELAY_S)
        if recent > _FLAPPING_DEATHS:
            delay = _LONGEST_DELAY_S
            self._report("flapping", {"child": slot.child.name, "deaths_in_a_minute": recent})
        slot.due = now + delay
        self._enter(slot, "waiting", "died", reason=reason, retry_in_s=delay)

    def _clear_session(self, slot: _Slot) -> None:
        """The child itself has ended: end what it left running, and let go of its session id."""
        if slot.process is None:
            return
        session = slot.process.pid
        if not kill_session(session):
            self._report("not_ended", {"child": slot.child.name, "pids": session_members(session)})
        elif self._guard is not None:
            self._guard.release(session)
        slot.process = None

    # -- all children ---------------------------------------------------------------------------

    @staticmethod
    def _groups(slots: Sequence[_Slot]) -> Iterator[list[_Slot]]:
        for _, group in itertools.groupby(slots, key=lambda slot: slot.child.order):
            yield list(group)

    def _await_ready(self, group: Sequence[_Slot], end: float) -> None:
        while True:
            for slot in self._slots:
                if slot.process is not None and (code := slot.process.poll()) is not None:
                    raise self._not_ready(slot, f"ended while starting: {_how_it_ended(code)}")
            for slot in group:
                if slot.state == "starting" and slot.child.ready is not None and slot.child.ready():
                    self._enter(slot, "running", "ready", pid=slot.pid)
            unready = [slot for slot in group if slot.state != "running"]
            if not unready:
                return
            if time.monotonic() >= end:
                raise self._not_ready(unready[0], "was not ready in time")
            if self._next_signal(0.05) in (SIGTERM, SIGINT):
                raise SystemExit(0)

    def _not_ready(self, slot: _Slot, what: str) -> EnvironmentProblem:
        lines = _last_lines(slot.child.log_path)
        return EnvironmentProblem(
            f"The {slot.child.name} process {what}.",
            code="child.not_ready",
            hint="Its last lines:\n" + "\n".join(lines) if lines else "It wrote nothing.",
            child=slot.child.name,
            log=lines,
            log_path=str(slot.child.log_path),
        )

    def _stop(self) -> None:
        """End all children in reverse order, whatever state they are in."""
        asked = time.monotonic()
        for group in self._groups(self._slots[::-1]):
            alive = [slot for slot in group if slot.process is not None]
            for slot in alive:
                self._enter(slot, "stopping", "stopping", pid=slot.pid)
                _signal_group(slot.process, slot.child.stop_signal)
            self._await_end(alive, asked)
            for slot in group:
                if slot.state != "stopped":
                    self._enter(slot, "stopped", "stopped")
        if self._guard is not None:
            self._guard.close()
            self._guard = None

    def _await_end(self, slots: Sequence[_Slot], asked: float) -> None:
        began = time.monotonic()
        left = list(slots)
        while left:
            if self._next_signal(0.05) in (SIGTERM, SIGINT) and time.monotonic() - asked >= _SECOND_SIGNAL_S:
                self._hurried = True
            for slot in list(left):
                process = slot.process
                if process is None:
                    continue
                over = self._hurried or time.monotonic() - began >= slot.child.stop_grace_s
                if process.poll() is None or session_members(process.pid):
                    if not over:
                        continue
                    self._report("killed", {"child": slot.child.name, "pid": process.pid})
                    process.kill()
                    process.wait()
                self._clear_session(slot)
                left.remove(slot)

    def _enter(self, slot: _Slot, state: str, event: str, **facts: object) -> None:
        slot.enter(state)
        self._report(event, {"child": slot.child.name, **facts})
        # A full disk must not end the supervision that somebody will need to clear it.
        with contextlib.suppress(OSError):
            temporary = self._status_path.with_name(self._status_path.name + ".new")
            temporary.write_text(json.dumps(self.status(), indent=1))
            temporary.replace(self._status_path)

    def _pause(self) -> float:
        """Seconds until something is due; a child's end and signals cut it short."""
        now = time.monotonic()
        pauses = [5.0]
        for slot in self._slots:
            if slot.process is None:
                pauses.append(max(0.0, slot.due - now))
            elif slot.state == "starting":
                pauses.append(0.1)
        return min(pauses)

    @staticmethod
    def _next_signal(timeout_s: float) -> int | None:
        info = signal.sigtimedwait({SIGTERM, SIGINT, SIGCHLD}, timeout_s)
        return info.si_signo if info is not None else None


def _signal_group(process: subprocess.Popen[bytes] | None, number: signal.Signals) -> None:
    if process is not None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)


def _how_it_ended(code: int) -> str:
    return f"exit code {code}" if code >= 0 else f"signal {-code}"


def _last_lines(path: Path) -> list[str]:
    with contextlib.suppress(OSError), path.open("rb") as log:
        log.seek(max(0, log.seek(0, os.SEEK_END) - 8192))
        return log.read().decode("utf-8", "replace").splitlines()[-_LOG_LINES:]
    return []
