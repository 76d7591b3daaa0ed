"""From facts to a verdict, purely: what ended, whose fault it was, and the sentence that says so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from packaging.utils import parse_wheel_filename

from buildfarm.sandbox.spec import MIB, Cause, Limits, Phase, State

#: Whose fault a bad exit code is, when nothing better explains it.
_BLAME: dict[Phase, Cause] = {
    "image": "infrastructure",
    "source": "infrastructure",
    "deps": "user_code",
    "build": "user_code",
    "repair": "checks",
    "test": "user_code",
    "upload": "infrastructure",
}


@dataclass(frozen=True, kw_only=True)
class Ending:
    """Everything known about the end of one container, or of the attempt around it.

    `missing` says what the phase should have left behind and did not; `wrong` what a check found.
    """

    phase: Phase
    exit_code: int = 0
    stopped: str | None = None
    oom_killed: bool = False
    pids_refused: int = 0
    disk_full: bool = False
    refusal: str | None = None
    failure: str | None = None
    index_failures: int = 0
    index_refusals: int = 0
    missing: str | None = None
    wrong: str | None = None
    first_error: str | None = None


@dataclass(frozen=True)
class Verdict:
    """A job's state after this attempt, whose fault, and one line for a person."""

    state: State
    cause: Cause | None
    first_error: str | None


def judge(ending: Ending, limits: Limits) -> Verdict | None:
    """The verdict on an ending, or None when the phase went well.

    The order matters: what we did ourselves explains an exit code, a kernel limit explains it
    better than the program's last words, and a silently killed child must not pass as success.
    """
    said = ending.first_error
    if ending.stopped == "cancelled":
        return Verdict("cancelled", None, "The attempt was cancelled.")
    if ending.stopped == "deadline":
        return _limit(f"The attempt used up its {limits.seconds:g} seconds.", None, state="timed_out")
    if ending.stopped == "idle":
        sentence = f"Nothing was printed for {limits.idle_seconds:g} seconds."
        return _limit(sentence, None, state="timed_out")
    if ending.oom_killed:
        return _limit(f"The memory limit of {limits.memory_bytes // MIB} MiB was reached.", said)
    if ending.refusal is not None:
        return Verdict("failed", "limit", f"A file of the build was refused: {ending.refusal}.")
    if ending.failure is not None:
        return Verdict("failed", "infrastructure", ending.failure)
    if ending.wrong is not None:
        return Verdict("failed", "checks", ending.wrong)
    if ending.exit_code == 0 and ending.missing is None:
        return None
    if ending.pids_refused:
        return _limit(f"The limit of {limits.pids} processes was reached.", said)
    if ending.disk_full:
        return _limit(f"The scratch space of {limits.scratch_bytes // MIB} MiB was full.", said)
    if ending.phase in ("deps", "test") and ending.index_failures:
        sentence = "The farm's index could not be reached while dependencies were installed."
        return Verdict("failed", "infrastructure", sentence)
    if ending.phase in ("deps", "test") and ending.index_refusals:
        return Verdict("failed", "policy", _because("The index refused a dependency.", said))
    if ending.exit_code == 0:
        return Verdict("failed", "user_code", ending.missing)
    cause = _BLAME[ending.phase]
    return Verdict(
        "failed", cause, said or f"The {ending.phase} phase ended with exit code {ending.exit_code}."
    )


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


def is_native(filename: str) -> bool:
    """Whether a wheel's name says that it belongs to a platform."""
    return all(tag.platform != "any" for tag in parse_wheel_filename(filename)[3])


def _because(sentence: str, said: str | None) -> str:
    return f"{sentence} First telling line: {said}" if said else sentence


def _limit(sentence: str, said: str | None, *, state: State = "failed") -> Verdict:
    return Verdict(state, "limit", _because(sentence, said))
