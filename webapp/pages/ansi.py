"""Log lines as HTML: colours by classes, every other control sequence dropped.

ECMA-48 escape sequences: SGR (`ESC [ … m`) chooses colours and weight; titles (OSC), cursor movement
and the rest cannot be drawn on a page and could deceive a terminal, so neither page nor download
holds any. A carriage return goes back over what stood there, as progress bars use it: what came last
is kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import escape
from itertools import islice

#: Everything a terminal would act on instead of printing: CSI, OSC and other strings, two-byte
#: escapes, and control characters but the tab.
_CONTROL = re.compile(
    r"\x1b\[(?P<sgr>[0-9;:]*)m"
    r"|(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?"
    r"|\x1b[ -/]*[0-~]?"
    r"|[\x00-\x08\x0b-\x1f\x7f-\x9f]"
)
#: Characters that turn the direction of text: a line may not look like what it is not.
_DIRECTION = re.compile("[\u202a-\u202e\u2066-\u2069]")
_PLAIN = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]*")
_WEIGHTS = {1: "bold", 2: "dim", 3: "italic", 4: "underline"}
_OFF = {22: {"bold", "dim"}, 23: {"italic"}, 24: {"underline"}}


def strip(text: str) -> str:
    """One line as plain text."""
    if _PLAIN.fullmatch(text):
        return text
    return _DIRECTION.sub("", _CONTROL.sub("", _last_drawn(text)))


def html(text: str) -> str:
    """One line as HTML whose only tags are `<span class="…">`; its text is `strip(text)`."""
    if _PLAIN.fullmatch(text):
        return escape(text)
    parts: list[str] = []
    colour, weights, at = 0, frozenset[str](), 0
    line = _last_drawn(text)
    for match in _CONTROL.finditer(line):
        parts.append(_span(line[at : match.start()], colour, weights))
        at = match.end()
        if match["sgr"] is not None:
            colour, weights = _select(match["sgr"], colour, weights)
    parts.append(_span(line[at:], colour, weights))
    return "".join(parts)


def _last_drawn(text: str) -> str:
    """What is left of a line after its carriage returns."""
    return text.rstrip("\r").rpartition("\r")[2]


def _span(text: str, colour: int, weights: frozenset[str]) -> str:
    inner = escape(_DIRECTION.sub("", text))
    names = sorted(weights) + ([f"c{colour}"] if colour else [])
    if not inner or not names:
        return inner
    return f'<span class="{" ".join(names)}">{inner}</span>'


def _select(parameters: str, colour: int, weights: frozenset[str]) -> tuple[int, frozenset[str]]:
    """The colour (ANSI number 30-37, 90-97, 0 for none) and weights after an SGR sequence."""
    codes = iter([int(code[:4] or 0) for code in re.split("[;:]", parameters)])
    for code in codes:
        if code == 0:
            colour, weights = 0, frozenset()
        elif code in _WEIGHTS:
            weights |= {_WEIGHTS[code]}
        elif code in _OFF:
            weights -= _OFF[code]
        elif 30 <= code <= 37 or 90 <= code <= 97:
            colour = code
        elif code == 39:
            colour = 0
        elif code in {38, 48}:
            wanted = _extended(codes)
            colour = wanted if code == 38 else colour
    return colour, weights


def _extended(codes: Iterator[int]) -> int:
    """The nearest of the sixteen for a colour of the 256 (`5;n`); true colours (`2;r;g;b`) stay plain."""
    kind = next(codes, 0)
    if kind == 5:
        number = next(codes, 16)
        return number + (30 if number < 8 else 82) if number < 16 else 0
    if kind == 2:
        list(islice(codes, 3))
    return 0
