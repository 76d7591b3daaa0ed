"""`buildfarm builder`: hosts that run builds."""

from __future__ import annotations

import os
from pathlib import Path

import click

from buildfarm.cli.client import from_environment
from buildfarm.cli.emulation import emulate_option
from buildfarm.cli.output import Columns, json_option, print_facts, print_rows

_COLUMNS: Columns = {
    "name": "name",
    "machine": "machine",
    "emulates": "emulates",
    "tiers": "tiers",
    "slots": lambda row: row["facts"].get("slots", ""),
    "running": "running",
    "state": "state",
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
    columns: Columns = {"name": "name", "tiers": "tiers", "token": "token", "id": "id", "start it": "command"}
    print_facts(made, columns, as_json=as_json)


@builder.command()
@click.argument("farm_url", metavar="URL")
@click.option(
    "--token",
    envvar="BUILDFARM_TOKEN",
    help="The builder's token (or BUILDFARM_TOKEN).",
)
@click.option(
    "--token-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File that holds it, in its place: the command lines of a host can be seen by all its users.",
)
@click.option(
    "--slots",
    type=click.IntRange(1, 64),
    default=min(os.cpu_count() or 1, 4),
    show_default=True,
    help="Attempts that run at the same time on this host.",
)
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("builder-data"),
    show_default=True,
    help="Folder for work in progress and logs.",
)
@click.option(
    "--ca-file",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="The farm's own authority, where it has one (`ca.pem`).",
)
@emulate_option
@json_option
def join(
    farm_url: str,
    token: str | None,
    token_file: Path | None,
    slots: int,
    data: Path,
    ca_file: Path | None,
    emulates: tuple[str, ...],
    *,
    as_json: bool,
) -> None:
    """Build for the farm at URL on this host, until SIGTERM or SIGINT.

    Needs an engine (DOCKER_HOST) and nothing else: it fetches the farm's images before it takes work.
    """
    from buildfarm.cli import builder_host  # what runs processes loads more than what lists builders

    token = builder_host.token_of(token, token_file)
    host = builder_host.Host(farm_url, token, data, slots, ca_file, emulates)
    raise SystemExit(builder_host.run(host, as_json=as_json))


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
