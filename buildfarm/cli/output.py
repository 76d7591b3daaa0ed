"""What commands print: JSON for programs, plain aligned text for people, nothing that steers a terminal."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import click

from buildfarm.errors import InvalidInput

#: What a column shows: a field's name, or a function of the whole row.
Column = str | Callable[[Mapping[str, Any]], object]

Columns = Mapping[str, Column]

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
limit_option = click.option("--limit", type=click.IntRange(1, 200), default=50, help="Most rows.")

_TIME = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)\.\d+Z")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
# Colours pass; titles, cursor movements and answers to the terminal's queries do not.
_LOG_CONTROL = re.compile(r"(\x1b\[[0-9;]{0,20}m)|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


def print_json(value: object) -> None:
    """One JSON document on standard output."""
    click.echo(json.dumps(value, indent=1, ensure_ascii=False))


def print_rows(answer: Mapping[str, Any], columns: Columns, *, as_json: bool) -> None:
    """A list as the API gives it: `{"items": [...], "next": ...}`."""
    if as_json:
        print_json(answer)
        return
    rows = [[_cell(row, column) for column in columns.values()] for row in answer["items"]]
    if not rows:
        click.echo("None.", err=True)
        return
    _print_table([[name.upper() for name in columns], *rows])
    if answer.get("next"):
        click.echo(f"There are more; go on after {plain(answer['next'])}.", err=True)


def print_facts(row: Mapping[str, Any], columns: Columns, *, as_json: bool) -> None:
    """One thing, a line for each fact that it has."""
    if as_json:
        print_json(row)
        return
    facts = [(name, _cell(row, column)) for name, column in columns.items()]
    width = max(len(name) for name in columns)
    for name, text in facts:
        if text:
            click.echo(f"{name:<{width}}  {text}")


def print_part(title: str, rows: Sequence[Mapping[str, Any]], columns: Columns) -> None:
    """A table below the facts of one thing."""
    if rows:
        click.echo(f"\n{title}")
        cells = [[_cell(row, column) for column in columns.values()] for row in rows]
        _print_table([[name.upper() for name in columns], *cells])


def plain(value: object) -> str:
    """A value on one line: times without their fraction, lists with commas, no control characters."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(plain(one) for one in value)
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", _TIME.sub(r"\1 \2", str(value)).replace("\n", " "))


def log_text(text: str) -> str:
    """Log text that may go to a terminal: colours stay, everything else that steers one is made visible."""
    return _LOG_CONTROL.sub(lambda found: found[1] or "\N{REPLACEMENT CHARACTER}", text)


def release_of(text: str) -> tuple[str, str]:
    """Name and version of `NAME==VERSION`.

    Raises:
        InvalidInput: `release.form`.
    """
    name, separator, version = text.partition("==")
    if not separator or not name.strip() or not version.strip():
        raise InvalidInput(f"{text!r} is not NAME==VERSION.", code="release.form")
    return name.strip(), version.strip()


def findings_of(row: Mapping[str, Any]) -> str:
    """What the validator found in a file: `M-03: the sentence; S-07: ...`."""
    return "; ".join(f"{one['rule']}: {one['text']}" for one in row["findings"])


def judged_by(row: Mapping[str, Any]) -> str:
    """The rules and tools behind a file's findings, on one line."""
    if row["check"] is None:
        return "before results were noted"
    return ", ".join(
        [f"rules {row['check']['rules']}", *map(" ".join, sorted(row["check"]["tools"].items()))]
    )


def coded(row: Mapping[str, Any], name: str) -> str | None:
    """A sentence about what went wrong, with its code; None where nothing did."""
    return f"{row[name]} [{row['code']}]" if row.get(name) else None


def short_commit(row: Mapping[str, Any]) -> str:
    """The first digits of a commit."""
    return str(row.get("commit") or "")[:10]


def short_ref(row: Mapping[str, Any]) -> str:
    """A ref without `refs/heads/`; tags keep `tags/`, to be told apart."""
    return str(row.get("ref") or "").removeprefix("refs/heads/").removeprefix("refs/")


def _cell(row: Mapping[str, Any], column: Column) -> str:
    return plain(row.get(column) if isinstance(column, str) else column(row))


def _print_table(rows: Iterable[Sequence[str]]) -> None:
    listed = list(rows)
    widths = [max(len(row[index]) for row in listed) for index in range(len(listed[0]))]
    for row in listed:
        click.echo("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())
