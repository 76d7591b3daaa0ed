"""`buildfarm project`: names that are ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from buildfarm.cli.client import from_environment
from buildfarm.cli.output import Columns, json_option, limit_option, print_facts, print_part, print_rows


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
    print_facts(found, {"name": "display_name", "ours since": "local_since"}, as_json=as_json)
    if not as_json:
        columns: Columns = {
            "version": "version",
            "channels": channels_of,
            "files": "files",
            "made": "created_at",
            "yanked": lambda row: "yanked" if row["yanked"] else "",
        }
        print_part("Releases", found["releases"], columns)


def channels_of(release: Mapping[str, Any]) -> str:
    """The channels that hold files of a release, the lowest first."""
    return " ".join(rung["channel"] for rung in release["channels"] if rung["files"])
