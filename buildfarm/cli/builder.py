"""`buildfarm builder`: hosts that run builds."""

from __future__ import annotations

import click

from buildfarm.cli.client import from_environment
from buildfarm.cli.output import Columns, json_option, print_facts, print_rows

_COLUMNS: Columns = {
    "name": "name",
    "tiers": "tiers",
    "slots": lambda row: row["facts"].get("slots", ""),
    "running": "running",
    "state": lambda row: row["state"].replace("_", " "),
    "unfit for": lambda row: "; ".join(f"{one['name']}: {one['value']}" for one in row["failed"]),
    "seen": "seen_at",
    "id": "id",
}


@click.group()
def builder() -> None:
    """Hosts that run builds."""


@builder.command()
@click.argument("name")
@click.option(
    "--tier", "tiers", multiple=True, required=True, help="Tier it may run: release, dev, untrusted."
)
@json_option
def add(name: str, *, tiers: tuple[str, ...], as_json: bool) -> None:
    """Admit a builder; its token is shown this once. A known name gets a new one, the old one ends."""
    made = from_environment().post("builders", body={"name": name, "tiers": list(tiers)})
    print_facts(made, {"name": "name", "tiers": "tiers", "token": "token", "id": "id"}, as_json=as_json)


@builder.command(name="list")
@json_option
def list_command(*, as_json: bool) -> None:
    """Builders, by name."""
    print_rows(from_environment().get("builders"), _COLUMNS, as_json=as_json)


@builder.command()
@click.argument("name")
@json_option
def drain(name: str, *, as_json: bool) -> None:
    """Let the builder finish what it has and take nothing more."""
    answer = from_environment().put("builders", name, "drain", body={})
    print_facts(answer, _COLUMNS, as_json=as_json)


@builder.command()
@click.argument("name")
@json_option
def undrain(name: str, *, as_json: bool) -> None:
    """Let the builder take work again."""
    print_facts(from_environment().delete("builders", name, "drain"), _COLUMNS, as_json=as_json)
