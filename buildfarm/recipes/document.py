"""One TOML file of a recipe: its data, and the line of each key. The text may be a stranger's."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from buildfarm.errors import InvalidInput
from buildfarm.recipes.lines import KeyPath, key_lines

#: A longer file is refused unread, in characters: the largest real `pyproject.toml` is a tenth of it.
MAX_CHARACTERS = 256 * 1024

#: A key of more parts is refused unread: `tomllib` takes time in the square of their number.
_LONG_KEY = re.compile(r"""(?<![A-Za-z0-9_-])(?:(?:"[^"\n]*"|'[^'\n]*'|[A-Za-z0-9_-]+)[ \t]*\.[ \t]*){32}""")

#: A longer message is cut, in characters.
MAX_SENTENCE = 500

_WHERE = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a recipe, and where."""

    file: str
    line: int
    text: str
    key: str = ""
    nearest: str = ""

    def __str__(self) -> str:
        # Names come from a stranger's file and go to terminals and logs.
        text = "".join(
            letter if letter.isprintable() else "?" for letter in f"{self.file} line {self.line}: {self.text}"
        )
        return text if len(text) <= MAX_SENTENCE else f"{text[: MAX_SENTENCE - 3]}..."


def refusal(problems: Sequence[Problem]) -> InvalidInput:
    """The one error for all problems: the first is its sentence, the others are in hint and facts."""
    first, *others = sorted(problems, key=lambda problem: (problem.file, problem.line))
    hint = f"Also: {'; '.join(str(problem) for problem in others[:5])}." if others else ""
    return InvalidInput(
        str(first) if str(first).endswith("?") else f"{first}.",
        code="recipe.invalid",
        hint=hint,
        file=first.file,
        line=first.line,
        key=first.key,
        nearest=first.nearest,
        problems=[str(problem) for problem in (first, *others[:49])],
    )


@dataclass(frozen=True)
class Document:
    """A TOML file that was read: `file` is the name people know it by."""

    file: str
    data: Mapping[str, object]
    lines: Mapping[KeyPath, int]

    def line(self, path: KeyPath) -> int:
        """The line of the key at `path`, or of the nearest key around it; 1 for the file itself."""
        while path:
            if path in self.lines:
                return self.lines[path]
            path = path[:-1]
        return 1


def read(file: str, text: str) -> Document:
    """Parse one file.

    Raises:
        InvalidInput: `recipe.invalid`, when the text is not TOML 1.0, too long or nested too deeply.
    """
    if len(text) > MAX_CHARACTERS:
        raise refusal(
            [Problem(file, 1, f"longer than {MAX_CHARACTERS // 1024} KiB; a recipe is a short file")]
        )
    if long_key := _LONG_KEY.search(text):
        line = text.count("\n", 0, long_key.start()) + 1
        raise refusal([Problem(file, line, "a key has more than 32 parts")])
    try:
        return Document(file, tomllib.loads(text), key_lines(text))
    except tomllib.TOMLDecodeError as error:
        raise refusal([_syntax_problem(file, text, str(error))]) from error
    except RecursionError as error:
        raise refusal([Problem(file, 1, "nested too deeply")]) from error
    except ValueError as error:  # the interpreter's own limit on the digits of a number
        raise refusal([Problem(file, 1, f"holds a value that cannot be read: {error}")]) from error


def _syntax_problem(file: str, text: str, message: str) -> Problem:
    where = _WHERE.search(message)
    line = int(where[1]) if where and where[1] else text.rstrip("\n").count("\n") + 1
    column = f" (column {where[2]})" if where and where[2] else " (at the end of the file)"
    return Problem(file, line, f"not valid TOML: {_WHERE.sub('', message)}{column}")
