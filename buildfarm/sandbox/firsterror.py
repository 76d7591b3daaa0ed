"""The first telling line of a log: what a person would look for, found while the log streams."""

from __future__ import annotations

import re

_ANSI = re.compile(r"\x1b\[[0-9;:]*[A-Za-z]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_TELLING = re.compile(
    r"(?:^|[\s:])(?:fatal )?error(?:\[\w+\])?: \S"  # compilers, rustc, uv, setuptools
    r"|^\s*(?:ERROR|FATAL|Error)\b:? \S"  # pip, meson, pytest, auditwheel
    r"|^\s*CMake Error"
    r"|: undefined reference to "
    r"|^E   \S"  # pytest's first failing assertion
    r"|^\s*\u00d7 \S"  # uv's resolver
)
_RAISED = re.compile(r"^[A-Za-z_][\w.]*(?:: .*)?$")
_REASONS = ("cause: ", "\u2570\u2500\u25b6 ")
_MAX = 300


def plain(text: str) -> str:
    """One line without control sequences, at most 300 characters."""
    return _ANSI.sub("", text).strip()[:_MAX]


class FirstError:
    """Fed with a phase's lines in order; `line` is the first telling one, else the last with text."""

    def __init__(self) -> None:
        self._found: str | None = None
        self._last: str | None = None
        self._indent: int | None = None
        self._promising = False

    @property
    def line(self) -> str | None:
        """The line a verdict quotes, or None when nothing was printed."""
        return self._found or self._last

    def feed(self, text: str) -> None:
        """Look at one line (without its end)."""
        if self._found and not self._promising:
            return
        line = _ANSI.sub("", text).rstrip()
        bare = line.strip()
        if not bare:
            return
        if self._found:  # uv tells the reasons on the lines after its error
            self._promising = bare.startswith(_REASONS)
            if self._promising:
                self._found = f"{self._found} {bare}"[:_MAX]
            return
        self._last = bare[:_MAX]
        indent = len(line) - len(line.lstrip())
        if bare.startswith("Traceback (most recent call last)"):
            self._indent = indent
        elif self._indent is not None:
            # Frames are indented deeper than the head; the first line that is not is the exception.
            if indent <= self._indent:
                self._indent = None
                if _RAISED.match(bare):
                    self._found = bare[:_MAX]
        elif _TELLING.search(line):
            self._found = bare[:_MAX]
            self._promising = True
