"""Where each key of a TOML document stands.

`tomllib` forgets positions, and an error about a recipe is worth little without its line. This
scanner walks text that `tomllib` has already accepted, so it decides nothing about validity: it
only follows keys, table headers and brackets, and skips over values.

Source: TOML 1.0.0, sections Keys, Table, Array, Inline Table and Array of Tables.
"""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_right

KeyPath = tuple[str | int, ...]

# No possessive groups: CPython 3.11.2 matches them wrongly. The alternatives exclude each other.
_BLANK = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
_SPACE = re.compile(r"[ \t]*")
_PART = re.compile(r'"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\'|[A-Za-z0-9_-]+')
_STRING = re.compile(
    r'"""(?:\\[\s\S]|[^\\"]|"(?!""))*"{3,5}'
    r"|'''(?:[^']|'(?!''))*'{3,5}"
    r'|"(?:[^"\\\n]|\\.)*"'
    r"|'[^'\n]*'"
)
_SCALAR = re.compile(r"[^,\]}#\n]+")


def key_lines(text: str) -> dict[KeyPath, int]:
    """The line, counted from 1, of every key, table header and array item in a valid document.

    A key that several lines name (`[a.b]` after `[a.c]`) has the line of the first. The text must be
    one that `tomllib.loads` accepts.
    """
    return _Scanner(text).scan()


class _Scanner:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.newlines = [match.start() for match in re.finditer("\n", text)]
        self.found: dict[KeyPath, int] = {}
        self.tables_in: dict[KeyPath, int] = {}

    def scan(self) -> dict[KeyPath, int]:
        table: KeyPath = ()
        self.skip(_BLANK)
        while self.at < len(self.text):
            if self.text[self.at] == "[":
                table = self.header()
            else:
                self.pair(table)
            self.skip(_BLANK)
        return self.found

    def skip(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self.text, self.at)
        if match is None:  # tomllib took what is not TOML 1.0: no reason to loop for ever
            raise ValueError("no key or value where one should be")
        self.at = match.end()
        return match.group()

    def mark(self, path: KeyPath) -> None:
        self.found.setdefault(path, bisect_right(self.newlines, self.at - 1) + 1)

    def parts(self) -> list[str]:
        """The parts of a key with dots, unquoted; leaves the position behind it."""
        names = []
        while True:
            self.skip(_SPACE)
            raw = self.skip(_PART)
            names.append(tomllib.loads(f"part = {raw}")["part"] if raw[0] in "\"'" else raw)
            self.skip(_SPACE)
            if self.text[self.at] != ".":
                return names
            self.at += 1

    def header(self) -> KeyPath:
        is_array = self.text.startswith("[[", self.at)
        start = self.at
        self.at += 2 if is_array else 1
        names = self.parts()
        end = self.at + (2 if is_array else 1)
        self.at = start
        path: KeyPath = ()
        for position, name in enumerate(names):
            path = (*path, name)
            self.mark(path)
            if is_array and position == len(names) - 1:
                self.tables_in[path] = self.tables_in.get(path, 0) + 1
            if path in self.tables_in:
                path = (*path, self.tables_in[path] - 1)
                self.mark(path)
        self.at = end
        return path

    def pair(self, table: KeyPath) -> None:
        start = self.at
        names = self.parts()
        end, self.at = self.at, start
        path = table
        for name in names:
            path = (*path, name)
            self.mark(path)
        self.at = end + 1
        self.skip(_SPACE)
        self.value(path)

    def value(self, path: KeyPath) -> None:
        character = self.text[self.at]
        if character == "[":
            self.array(path)
        elif character == "{":
            self.inline_table(path)
        elif character in "\"'":
            self.skip(_STRING)
        else:
            self.skip(_SCALAR)

    def array(self, path: KeyPath) -> None:
        self.at += 1
        index = 0
        self.skip(_BLANK)
        while self.text[self.at] != "]":
            self.mark((*path, index))
            self.value((*path, index))
            index += 1
            self.skip(_BLANK)
            if self.text[self.at] == ",":
                self.at += 1
                self.skip(_BLANK)
        self.at += 1

    def inline_table(self, path: KeyPath) -> None:
        self.at += 1
        self.skip(_BLANK)
        while self.text[self.at] != "}":
            self.pair(path)
            self.skip(_BLANK)
            if self.text[self.at] == ",":
                self.at += 1
                self.skip(_BLANK)
        self.at += 1
