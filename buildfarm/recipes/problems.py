"""What pydantic found wrong, as sentences with file, line and the nearest known key."""

from __future__ import annotations

import difflib
import typing
from collections.abc import Iterator, Mapping, Sequence

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from buildfarm.recipes.document import Problem
from buildfarm.recipes.lines import KeyPath
from buildfarm.recipes.merge import Layer, locate, tree

_SENTENCES = {
    "bool_type": "must be true or false",
    "float_type": "must be a number",
    "int_type": "must be a whole number",
    "string_type": "must be text in quotes",
    "dict_type": "must be a table",
    "finite_number": "must be a finite number",
    "greater_than_equal": "must be at least {ge:g}",
    "less_than_equal": "must be at most {le:g}",
    "string_too_long": "must be at most {max_length} characters long",
    "too_short": "must not be empty",
    "too_long": "must have at most {max_length} entries",
}


def problems_of(
    error: ValidationError, layer: Layer, model: type[BaseModel], extra: Sequence[str]
) -> list[Problem]:
    """One problem for each finding.

    Args:
        error: what validating `tree(layer)` against `model` raised.
        layer: the values and where each was written.
        model: whose keys are the known ones.
        extra: keys that a file may also have at its top level.
    """
    known = dict(known_keys(model))
    known[()] = (*known[()], *extra)
    data = tree(layer)
    return [_problem(details, layer, data, known) for details in error.errors(include_url=False)]


def known_keys(model: type[BaseModel], path: KeyPath = ()) -> Iterator[tuple[KeyPath, tuple[str, ...]]]:
    """The keys of the model and of each table in it, by the table's path; `*` stands for any name."""
    yield path, tuple(model.model_fields)
    for name, field in model.model_fields.items():
        step = (name, "*") if typing.get_origin(field.annotation) in (dict, Mapping, tuple) else (name,)
        for part in _models_in(field.annotation):
            yield from known_keys(part, (*path, *step))


def _models_in(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in typing.get_args(annotation):
        yield from _models_in(argument)


def nearest_of(name: str, names: Sequence[str]) -> str:
    """The name that was probably meant, or an empty text."""
    close = difflib.get_close_matches(name.lower(), names, n=1)
    return close[0] if close else ""


def _problem(
    details: ErrorDetails, layer: Layer, data: object, known: Mapping[KeyPath, tuple[str, ...]]
) -> Problem:
    location = _location(details["loc"], data)
    path, document = locate(layer, location)
    line = document.line(path)
    table = path[:-1] if location else path
    where = _place(table)
    name = str(location[-1]) if location else ""
    if details["type"] == "extra_forbidden":
        nearest, suggestion = _suggestion(name, location[:-1], known, path[: len(path) - len(location)])
        return Problem(document.file, line, f'unknown key "{name}" {where}; {suggestion}', name, nearest)
    if location and isinstance(location[-1], int):
        name, where = str(location[-2]), _place(table[:-1])
    subject = f'"{name}" {where}: ' if name else ""
    return Problem(document.file, line, f"{subject}{_sentence(details)}", name)


def _location(raw: tuple[int | str, ...], data: object) -> KeyPath:
    """The location without the steps that are no part of the data, such as a union's branch."""
    location: list[int | str] = []
    for step in raw:
        inner = _inner(data, step)
        if inner is not None:
            data = inner
            location.append(step)
    return tuple(location)


def _inner(data: object, step: int | str) -> object | None:
    if isinstance(data, dict):
        return data.get(step)
    return data[step] if isinstance(data, list) and isinstance(step, int) else None


def _suggestion(
    name: str, table: KeyPath, known: Mapping[KeyPath, tuple[str, ...]], around: KeyPath
) -> tuple[str, str]:
    table = tuple("*" if isinstance(step, int) else step for step in table)
    names = known[table if table in known else (*table[:-1], "*")]
    if nearest := nearest_of(name, names):
        return nearest, f'did you mean "{nearest}"?'
    for other, others in known.items():
        if name in others:
            place = _place((*around, *other))
            return name, f"it belongs {place}"
    return "", f"known are {', '.join(names)}"


def _place(table: KeyPath) -> str:
    names = [step for step in table if isinstance(step, str) and step != "*"]
    return f"in [{'.'.join(names)}]" if names else "at the top of the file"


def _sentence(details: ErrorDetails) -> str:
    kind, context = details["type"], details.get("ctx", {})
    if kind == "value_error":
        return str(context["error"])
    if kind == "literal_error":
        return 'must be "all" or a list' if "<text>" in details["loc"] else "must be false or a table"
    if kind == "tuple_type":
        return "must be text or a list of texts" if "<list>" in details["loc"] else "must be a list of texts"
    if kind == "model_type":
        return "must be false or a table" if "<table>" in details["loc"] else "must be a table"
    return _SENTENCES[kind].format(**context) if kind in _SENTENCES else details["msg"]
