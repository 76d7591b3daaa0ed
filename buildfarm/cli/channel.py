"""`buildfarm channel`: the ladder that releases climb."""

from __future__ import annotations

import click

from buildfarm.cli.client import from_environment
from buildfarm.cli.output import json_option, print_rows


@click.group()
def channel() -> None:
    """The ladder that releases climb."""


@channel.command(name="list")
@json_option
def list_command(*, as_json: bool) -> None:
    """Channels, the lowest first, and what to tell pip."""
    columns = {"name": "name", "files": "files", "public": "public", "index": "index_url"}
    print_rows(from_environment().get("channels"), columns, as_json=as_json)
