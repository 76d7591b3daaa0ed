"""`buildfarm journal`: everything that changed what clients see."""

from __future__ import annotations

import json

import click

from buildfarm.cli.client import from_environment
from buildfarm.cli.output import Columns, json_option, limit_option, print_facts, print_rows


@click.group()
def journal() -> None:
    """Everything that changed what clients see."""


@journal.command(name="list")
@click.option("--after", type=click.IntRange(0), default=0, help="Go on after this serial.")
@limit_option
@json_option
def list_command(*, after: int, limit: int, as_json: bool) -> None:
    """Rows of the journal, the oldest first."""
    columns: Columns = {
        "serial": "serial",
        "when": "at",
        "kind": "kind",
        "project": "project",
        "facts": lambda row: json.dumps(row["facts"], ensure_ascii=False),
    }
    print_rows(from_environment().get("journal", after=after, limit=limit), columns, as_json=as_json)


@journal.command()
@json_option
def checkpoint(*, as_json: bool) -> None:
    """The newest signed head of the journal."""
    found = from_environment().get("journal", "checkpoint")
    print_facts(found, {"size": "size", "signed": "at"}, as_json=as_json)
    if not as_json:
        click.echo(found["note"])
