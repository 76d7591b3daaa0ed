"""`buildfarm builder`: hosts that run builds."""

from __future__ import annotations

import click

from buildfarm.cli.client import from_environment
from buildfarm.cli.output import json_option, print_facts, print_rows


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
    columns = {"name": "name", "tiers": "tiers", "running": "running", "seen": "seen_at", "id": "id"}
    print_rows(from_environment().get("builders"), columns, as_json=as_json)
