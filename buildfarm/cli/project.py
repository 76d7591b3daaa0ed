"""`buildfarm project`: names that are ours."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import click

from buildfarm.cli.client import Client, from_environment
from buildfarm.cli.output import (
    Columns,
    json_option,
    limit_option,
    plain,
    print_facts,
    print_part,
    print_rows,
)

_FACTS: Columns = {
    "name": "display_name",
    "ours since": "local_since",
    "status": lambda row: "" if row["status"] == "active" else row["status"],
    "reason": "status_reason",
    "namespaces": "namespaces",
    "looks like": "looks_like",
}


@click.group()
def project() -> None:
    """Names that are ours."""


@project.command(name="list")
@click.option("-q", "--query", help="Those whose name holds this.")
@click.option("--after", help="Go on after this name.")
@limit_option
@json_option
def list_command(*, query: str | None, after: str | None, limit: int, as_json: bool) -> None:
    """Projects, by name."""
    columns = {"name": "name", "latest": "latest", "releases": "releases", "summary": "summary"}
    print_rows(
        from_environment().get("projects", q=query, after=after, limit=limit), columns, as_json=as_json
    )


@project.command()
@click.argument("name")
@json_option
def show(name: str, *, as_json: bool) -> None:
    """One project with its releases and the channels they are in."""
    found = from_environment().get("projects", name)
    print_facts(found, _FACTS, as_json=as_json)
    if not as_json:
        columns: Columns = {
            "version": "version",
            "channels": channels_of,
            "files": "files",
            "made": "created_at",
            "yanked": lambda row: "yanked" if row["yanked"] else "",
        }
        print_part("Releases", found["releases"], columns)


@project.command()
@click.argument("name")
@json_option
def add(name: str, *, as_json: bool) -> None:
    """Make NAME ours before anything is published under it: it is never asked upstream from then on."""
    farm = from_environment()
    print_facts(farm.post("projects", body={"name": name}), _FACTS, as_json=as_json)
    warn_of_lookalikes(farm, [name])


@project.command()
@click.argument("name")
@click.argument("status", type=click.Choice(["active", "archived", "quarantined", "deprecated"]))
@click.option("--reason", default="", help="Why; clients and pages show it.")
@json_option
def status(name: str, status: str, *, reason: str, as_json: bool) -> None:
    """Mark a project (PEP 792); archived and quarantined ones take no new files."""
    body = {"status": status, "reason": reason}
    print_facts(from_environment().put("projects", name, "status", body=body), _FACTS, as_json=as_json)


def warn_of_lookalikes(farm: Client, names: Iterable[str]) -> None:
    """Say on standard error which of these names a person may take for another of ours."""
    for name in names:
        if alike := farm.get("projects", name)["looks_like"]:
            click.echo(f"Mind: {plain(name)} looks like {plain(alike)}.", err=True)


def channels_of(release: Mapping[str, Any]) -> str:
    """The channels that hold files of a release, the lowest first."""
    return " ".join(rung["channel"] for rung in release["channels"] if rung["files"])
