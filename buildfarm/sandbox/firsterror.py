"""The first telling line of a log: what a person would look for, found while the log streams."""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass

from buildfarm.sandbox.classify import classify
from buildfarm.sandbox.spec import FailureClass, Phase

_ANSI = re.compile(r"\x1b\[[0-9;:]*[A-Za-z]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|[\x00-\x08\x0b-\x1f\x7f-\x9f]")
# Two, since a pattern that may stand anywhere is tried at every character of every line.
_ANYWHERE = re.compile(
    r"[\s:](?:fatal )?error(?:\[\w+\])?: \S"  # compilers
    r"|: undefined reference to |\bld(?:\.\w+)?: cannot find "
    r"|: reading http://\S+: \d{3} |: missing go\.sum entry|: no required module provides package"  # go
)
_AT_START = re.compile(
    r"(?:fatal )?error(?:\[\w+\])?: \S"  # rustc, uv, setuptools
    r"|\s*(?:ERROR|FATAL|Error)\b:? \S"  # pip, pytest, auditwheel
    r"|\S*meson\.build:\d+:\d+: ERROR: \S"
    r"|\s*CMake Error"
    r"|\S*sh: (?:line )?\d+: \S+: (?:command )?not found$|make(?:\[\d+\])?: \S+: No such file or directory$"
    r"|verifying \S+: checksum mismatch$"  # go
    r"|E   \S"  # pytest's first failing assertion
    r"|\s*\u00d7 \S"  # uv's resolver
)
_RAISED = re.compile(r"^[A-Za-z_][\w.]*(?:: .*)?$")
_REASONS = ("cause: ", "\u2570\u2500\u25b6 ")
_MAX = 300
#: Lines around the first telling one that may say more of what went wrong.
_BEFORE, _AFTER = 12, 60


def plain(text: str) -> str:
    """One line without control sequences, at most 300 characters."""
    return _ANSI.sub("", text).strip()[:_MAX]


@dataclass(frozen=True)
class Telling:
    """The line that a verdict quotes, its number in the log, and what it says went wrong."""

    line: str
    number: int
    failure_class: FailureClass


class FirstError:
    """Fed with a phase's lines in order; knows the first telling one, else the last with text."""

    def __init__(self) -> None:
        self._before: deque[tuple[int, str]] = deque(maxlen=_BEFORE)
        self._telling: list[tuple[int, str]] = []
        self._indent: int | None = None
        self._promising = False

    def telling(self, phase: Phase) -> Telling | None:
        """What the lines tell of a bad end of the phase; None when nothing was printed."""
        before, lines = list(self._before), self._telling
        if not lines:
            if not before:
                return None
            before, lines = before[:-1], before[-1:]
        failure_class, index = classify(phase, [text for _, text in lines], [text for _, text in before])
        number, line = (before if index < 0 else lines)[index]
        return Telling(line, number, failure_class)

    def feed(self, text: str, number: int) -> None:
        """Look at one line (without its end), by its number in the log."""
        if len(self._telling) > _AFTER:
            return
        line = _ANSI.sub("", text).rstrip()
        bare = line.strip()
        if not bare:
            return
        if self._telling:
            self._more(number, line, bare)
        elif self._tells(line, bare):
            self._telling.append((number, bare[:_MAX]))
            self._promising = True
        else:
            self._before.append((number, bare[:_MAX]))

    def _more(self, number: int, line: str, bare: str) -> None:
        first_number, first = self._telling[0]
        # uv tells its reasons on the lines after its error, CMake what it misses.
        self._promising = self._promising and (
            bare.startswith(_REASONS) or (first.startswith("CMake Error") and line.startswith("  "))
        )
        if self._promising:
            self._telling[0] = (first_number, f"{first} {bare}"[:_MAX])
        else:
            self._telling.append((number, bare[:_MAX]))

    def _tells(self, line: str, bare: str) -> bool:
        indent = len(line) - len(line.lstrip())
        if bare.startswith("Traceback (most recent call last)"):
            self._indent = indent
            return False
        if self._indent is not None:
            # Frames are indented deeper than the head; the first line that is not is the exception.
            if indent > self._indent:
                return False
            self._indent = None
            return _RAISED.match(bare) is not None
        return bool(_AT_START.match(line) or _ANYWHERE.search(line))
