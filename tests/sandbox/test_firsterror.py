"""The line a verdict quotes."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from buildfarm.sandbox.firsterror import FirstError


def found(text: str) -> str | None:
    scanner = FirstError()
    for number, line in enumerate(text.splitlines(), start=1):
        scanner.feed(line, number)
    told = scanner.telling("build")
    return told.line if told else None


@pytest.mark.parametrize(
    ("log", "line"),
    [
        ("gcc -c a.c\na.c:3:5: error: no ';'\nerror: command 'gcc' failed", "a.c:3:5: error: no ';'"),
        ("x\na.c:1:10: fatal error: ffi.h: No such file", "a.c:1:10: fatal error: ffi.h: No such file"),
        ("error[E0432]: unresolved import\nerror: aborting", "error[E0432]: unresolved import"),
        ("x\n\x1b[31mERROR:\x1b[0m bad thing", "ERROR: bad thing"),
        ("Traceback (most recent call last):\n  File x\n    f()\nKeyError: 'a'\nmore", "KeyError: 'a'"),
        ("Traceback (most recent call last):\n  File\nexpat.ExpatError\nmore", "expat.ExpatError"),
        (
            "  \u00d7 No way:\n  \u2570\u2500\u25b6 Because nope\nx",
            "\u00d7 No way: \u2570\u2500\u25b6 Because nope",
        ),
        (
            "error: No solution\n  cause: Because a\n  cause: b\nx",
            "error: No solution cause: Because a cause: b",
        ),
        ("    assert 1 == 2\nE   AssertionError: no\nFAILED", "E   AssertionError: no"),
        ("/usr/bin/ld: a.o: undefined reference to `g'", "/usr/bin/ld: a.o: undefined reference to `g'"),
        ("all is well\nlast words", "last words"),
        ("0 errors, 2 warnings\nno-error: \ndone", "done"),
        ("", None),
    ],
)
def test_the_first_telling_line_is_found(log, line):
    assert found(log) == line


@settings(max_examples=200)
@given(st.text())
def test_whatever_was_printed_the_answer_is_one_short_plain_line(log):
    line = found(log)

    assert line is None or (len(line) <= 300 and "\n" not in line and "\x1b" not in line)
