"""From facts to a verdict, purely: what ended, whose fault it was, and the sentence that says so."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from packaging.utils import parse_wheel_filename

from buildfarm.sandbox.classify import classify
from buildfarm.sandbox.failures import FAILURES
from buildfarm.sandbox.firsterror import Telling
from buildfarm.sandbox.spec import MIB, Cause, FailureClass, Limits, Phase, State

#: Kind, version and machine of a platform tag (PEP 600, PEP 656).
_LIBC = re.compile(r"((?:many|musl)linux)_(\d+)_(\d+)_(\w+)$")


@dataclass(frozen=True, kw_only=True)
class Ending:
    """Everything known about the end of one container, or of the attempt around it.

    `was_ready` is False when the container ended before it was given anything to do;
    `missing` says what the phase should have left behind and did not; `wrong` what a check found;
    `telling` is what the log says of it; `unknown` are the projects that were asked for and are nowhere.
    """

    phase: Phase
    exit_code: int = 0
    was_ready: bool = True
    stopped: str | None = None
    oom_killed: bool = False
    pids_refused: int = 0
    disk_full: bool = False
    refusal: str | None = None
    failure: str | None = None
    index_failures: int = 0
    index_refusals: int = 0
    unknown: Sequence[str] = ()
    missing: str | None = None
    wrong: str | None = None
    telling: Telling | None = None


@dataclass(frozen=True)
class Verdict:
    """A job's state after this attempt, what went wrong, and one line for a person.

    `error_line` is the number of the log's line that is quoted, where one is.
    """

    state: State
    failure_class: FailureClass | None
    first_error: str | None
    error_line: int | None = None

    @property
    def cause(self) -> Cause | None:
        """Whose fault it is."""
        return FAILURES[self.failure_class].cause if self.failure_class else None


def judge(ending: Ending, limits: Limits) -> Verdict | None:
    """The verdict on an ending, or None when the phase went well.

    The order matters: what we did ourselves explains an exit code, a kernel limit explains it
    better than the program's last words, and a silently killed child must not pass as success.
    """
    told = ending.telling
    if ending.stopped == "cancelled":
        return Verdict("cancelled", None, "The attempt was cancelled.")
    if ending.stopped == "deadline":
        return Verdict("timed_out", "timeout", f"The attempt used up its {limits.seconds:g} seconds.")
    if ending.stopped == "idle":
        return Verdict("timed_out", "idle", f"Nothing was printed for {limits.idle_seconds:g} seconds.")
    if ending.stopped == "probing":
        sentence = f"The build asked the index for {len(ending.unknown)} names that are not there"
        return Verdict("failed", "probing", f"{sentence}: {some(ending.unknown, 5)}.")
    if ending.oom_killed:
        sentence = f"The memory limit of {limits.memory_bytes // MIB} MiB was reached."
        return _because("out-of-memory", sentence, told)
    if ending.refusal is not None:
        return Verdict("failed", "output", f"A file of the build was refused: {ending.refusal}.")
    if ending.failure is not None:
        return Verdict("failed", "farm", ending.failure)
    if ending.wrong is not None:
        return Verdict("failed", "shape", ending.wrong)
    if ending.exit_code == 0 and ending.missing is None:
        return None
    if ending.pids_refused:
        return _because("processes", f"The limit of {limits.pids} processes was reached.", told)
    if ending.disk_full:
        sentence = f"The scratch space of {limits.scratch_bytes // MIB} MiB was full."
        return _because("disk-full", sentence, told)
    if not ending.was_ready:
        return _because("engine", "The image's own programs do not work.", told)
    # Cargo and Go fetch what they need while they build.
    was_fetching = told is not None and told.failure_class == "dependency-resolution"
    if (ending.phase in ("deps", "test") or was_fetching) and ending.index_failures:
        sentence = "The farm's index could not be reached while dependencies were installed."
        return Verdict("failed", "farm", sentence)
    if ending.phase in ("deps", "test") and ending.index_refusals:
        return _because("dependency-refused", "The index refused a dependency.", told)
    if ending.exit_code == 0:
        return Verdict("failed", "repair" if ending.phase == "repair" else "build", ending.missing)
    if told is None:
        sentence = f"The {ending.phase} phase ended with exit code {ending.exit_code}."
        return Verdict("failed", classify(ending.phase, ())[0], sentence)
    return Verdict("failed", told.failure_class, told.line, told.number)


def judge_shape(filenames: Sequence[str], *, wheel: bool, sdist: bool, native: bool | None) -> str | None:
    """What is wrong with the files a build left, judged by their names; None when nothing is.

    Args:
        filenames: names that `packaging.utils` accepts.
        wheel: whether exactly one wheel was asked for.
        sdist: whether exactly one sdist was asked for.
        native: whether the wheel must (True) or must not (False) belong to a platform.
    """
    wheels = [name for name in filenames if name.endswith(".whl")]
    sdists = [name for name in filenames if not name.endswith(".whl")]
    if len(wheels) != wheel or len(sdists) != sdist:
        return f"The build handed out {len(wheels)} wheels and {len(sdists)} sdists."
    if wheels and native is not None and is_native(wheels[0]) != native:
        kind = "a wheel with compiled code" if native else "a pure wheel"
        return f"The recipe expects {kind}, but the build left {wheels[0]}."
    return None


def judge_platform(filename: str, target: str) -> str | None:
    """What is wrong with the platform of a wheel made for a target; None when it runs wherever that says.

    The compiler that the target stands for may not have been asked, and another one's result is as green.
    """
    wanted = _LIBC.search(target)
    if wanted is None:
        return None
    kind, machine, floor = wanted[1], wanted[4], (int(wanted[2]), int(wanted[3]))
    floors = []
    for tag in parse_wheel_filename(filename)[3]:
        if not tag.platform.endswith(f"_{machine}"):
            return f"The target is {target}, but {filename} is for another machine."
        if (own := _LIBC.search(tag.platform)) and own[1] == kind:
            floors.append((int(own[2]), int(own[3])))
    if floors and min(floors) > floor:
        return f"The target is {target}, but {filename} needs a newer C library."
    return None


def is_native(filename: str) -> bool:
    """Whether a wheel's name says that it belongs to a platform."""
    return all(tag.platform != "any" for tag in parse_wheel_filename(filename)[3])


def some(names: Sequence[str], most: int) -> str:
    """The first names of a list, each cut to 60 characters, for a sentence."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(name[:60] for name in names[:most]) + more


def _because(failure_class: FailureClass, sentence: str, told: Telling | None) -> Verdict:
    if told is None:
        return Verdict("failed", failure_class, sentence)
    return Verdict("failed", failure_class, f"{sentence} First telling line: {told.line}", told.number)
