"""`buildfarm promotion`: releases that climbed, and taking them down again."""

from __future__ import annotations

import click

from buildfarm.cli.client import from_environment
from buildfarm.cli.output import Columns, json_option, limit_option, print_facts, print_rows


@click.group()
def promotion() -> None:
    """Releases that climbed, and taking them down."""


@promotion.command(name="list")
@click.option("--project", help="Of this project alone.")
@click.option("--before", help="Go on after this id.")
@limit_option
@json_option
def list_command(*, project: str | None, before: str | None, limit: int, as_json: bool) -> None:
    """Promotions, the newest first."""
    columns: Columns = {
        "id": "id",
        "release": lambda row: f"{row['project']} {row['version']}",
        "from": "from_channel",
        "to": "to_channel",
        "state": "state",
        "by": "actor",
        "when": "created_at",
    }
    found = from_environment().get("promotions", project=project, before=before, limit=limit)
    print_rows(found, columns, as_json=as_json)


@promotion.command()
@click.argument("promotion_id")
@json_option
def undo(promotion_id: str, *, as_json: bool) -> None:
    """Take out of the channel what a promotion brought in."""
    made = from_environment().post("promotions", promotion_id, "undo")
    facts: Columns = {
        "promotion": "id",
        "release": lambda row: f"{row['project']} {row['version']}",
        "no more in": "from_channel",
        "files": "files",
    }
    print_facts(made, facts, as_json=as_json)
