"""What a single value of a recipe must look like, as annotated types for the model.

Every check says in one sentence what the author should write instead; the line is added by whoever
knows the file.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any, Literal

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import InvalidName, canonicalize_name
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    PlainSerializer,
    Strict,
    StringConstraints,
    Tag,
    WithJsonSchema,
)

from buildfarm.recipes.environment import refused_variable
from buildfarm.recipes.units import (
    DURATION_PATTERN,
    SIZE_PATTERN,
    format_duration,
    format_size,
    parse_duration,
    parse_size,
)

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?")
_INTERPRETER = re.compile(r"cp3[0-9]{1,2}t?")
_PLATFORM = re.compile(r"(?:\*-|(?:many|musl)linux(?:_[0-9]+_[0-9]+_|-))[a-z0-9]+(?:_[a-z0-9]+)*")
_SYSTEM_PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]{1,99}")
_COMMAND_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,99}")

Flag = Annotated[bool, Strict()]
Text = Annotated[str, StringConstraints(max_length=10_000)]
Glob = Annotated[str, StringConstraints(max_length=200)]


def _recipe_name(value: str) -> str:
    if not _NAME.fullmatch(value):
        raise ValueError(f'must be lower-case letters, digits, ".", "_" and "-", not "{value[:60]}"')
    return value


def _folder(value: str) -> str:
    parts = [part for part in value.split("/") if part not in ("", ".")]
    if value.startswith("/") or ".." in parts or "\\" in value or not value.isprintable():
        raise ValueError(
            f'must be a folder inside the repository, with "/" between its parts, not "{value[:60]}"'
        )
    return "/".join(parts)


def _project(value: str) -> str:
    try:
        return canonicalize_name(value, validate=True)
    except InvalidName as error:
        raise ValueError(
            f'must be a project name (letters, digits, ".", "_", "-"), not "{value[:60]}"'
        ) from error


def _interpreter(value: str) -> str:
    if not _INTERPRETER.fullmatch(value):
        raise ValueError(f'must be a CPython tag like "cp313" or "cp314t", not "{value[:40]}"')
    return value


def _platform(value: str) -> str:
    if not _PLATFORM.fullmatch(value):
        raise ValueError(
            f'must be a platform like "manylinux-x86_64" or one image\'s tag like "manylinux_2_28_x86_64", '
            f'not "{value[:60]}"'
        )
    return value


def _requirement(value: str) -> str:
    try:
        requirement = Requirement(value)
    except InvalidRequirement as error:
        raise ValueError(f'must be a requirement like "pytest>=8", not "{value[:60]}"') from error
    if requirement.url:
        raise ValueError(f'"{value[:60]}" names a URL; a build reads from the farm\'s channels alone')
    return value


def _system_package(value: str) -> str:
    if not _SYSTEM_PACKAGE.fullmatch(value):
        raise ValueError(f'must be the name of a package of the image, like "libpq-dev", not "{value[:60]}"')
    return value


def _command_name(value: str) -> str:
    if not _COMMAND_NAME.fullmatch(value):
        raise ValueError(f'must be the name of a command like "jq", not "{value[:60]}"')
    return value


def _variable(name: str) -> str:
    if why := refused_variable(name):
        raise ValueError(f"must not be set by a recipe: {why}")
    return name


def _variable_value(value: str) -> str:
    if "\0" in value:
        raise ValueError("must not hold a NUL character")
    return value


def _measure(
    parse: Callable[[object], int], shown: Callable[[int], str], pattern: str, low: int, high: int
) -> tuple[Any, ...]:
    def check(value: int) -> int:
        if not low <= value <= high:
            raise ValueError(f"must be between {shown(low)} and {shown(high)}, not {shown(value)}")
        return value

    return (
        BeforeValidator(parse),
        AfterValidator(check),
        PlainSerializer(shown, return_type=str),
        WithJsonSchema({"type": "string", "pattern": pattern}),
    )


def size(low: int, high: int) -> tuple[Any, ...]:
    """Checks of a field in bytes that people write as `"2 GiB"`; both ends allowed."""
    return _measure(parse_size, format_size, SIZE_PATTERN, low, high)


def duration(low: int, high: int) -> tuple[Any, ...]:
    """Checks of a field in seconds that people write as `"30m"`; both ends allowed."""
    return _measure(parse_duration, format_duration, DURATION_PATTERN, low, high)


# Only the branch that the value's own type chooses is tried, so an error speaks of what was meant.
def _text_or_list(value: object) -> str:
    return "<text>" if isinstance(value, str) else "<list>"


def _flag_or_command(value: object) -> str:
    return "<flag>" if isinstance(value, bool) else _text_or_list(value)


def _extra(value: str) -> str:
    try:
        return canonicalize_name(value, validate=True)
    except InvalidName as error:
        raise ValueError(f'must be the name of an extra or a group, not "{value[:60]}"') from error


def _shell(value: str | tuple[str, ...]) -> tuple[str, ...]:
    return ("sh", "-c", value) if isinstance(value, str) else value


RecipeName = Annotated[str, AfterValidator(_recipe_name)]
Folder = Annotated[str, StringConstraints(max_length=500), AfterValidator(_folder)]
Project = Annotated[str, AfterValidator(_project)]
Interpreters = Annotated[
    Annotated[Literal["all"], Tag("<text>")]
    | Annotated[tuple[Annotated[str, AfterValidator(_interpreter)], ...], Field(min_length=1), Tag("<list>")],
    Discriminator(_text_or_list),
]
Platforms = Annotated[
    Annotated[Literal["all"], Tag("<text>")]
    | Annotated[tuple[Annotated[str, AfterValidator(_platform)], ...], Field(min_length=1), Tag("<list>")],
    Discriminator(_text_or_list),
]
TextOrList = Annotated[
    Annotated[Text, Tag("<text>")] | Annotated[tuple[Text, ...], Tag("<list>")], Discriminator(_text_or_list)
]
Command = Annotated[TextOrList, AfterValidator(_shell)]
#: `true`, `false`, or a command.
FlagOrCommand = Annotated[
    Annotated[Flag, Tag("<flag>")]
    | Annotated[Text, AfterValidator(_shell), Tag("<text>")]
    | Annotated[tuple[Text, ...], Field(min_length=1), Tag("<list>")],
    Discriminator(_flag_or_command),
]
#: The version of a C library.
Glibc = Annotated[str, StringConstraints(pattern=r"^2\.[1-9][0-9]$")]
Names = tuple[Annotated[str, AfterValidator(_extra)], ...]
CommandName = Annotated[str, AfterValidator(_command_name)]
SystemPackages = Annotated[tuple[Annotated[str, AfterValidator(_system_package)], ...], Field(max_length=100)]
Requirements = tuple[Annotated[str, AfterValidator(_requirement)], ...]
Environment = dict[
    Annotated[str, AfterValidator(_variable)],
    Annotated[Text, AfterValidator(_variable_value)],
]
