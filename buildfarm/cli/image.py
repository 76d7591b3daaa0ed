"""`buildfarm image`: container images that builds use."""

from __future__ import annotations

import click

from buildfarm.cli.client import from_environment
from buildfarm.cli.output import Columns, json_option, print_rows


@click.group()
def image() -> None:
    """Container images that builds use."""


@image.command(name="list")
@json_option
def list_command(*, as_json: bool) -> None:
    """The images in use, by platform."""
    columns: Columns = {
        "platform": "platform",
        "role": "role",
        "suite": "suite",
        "interpreters": "interpreters",
        "image": lambda row: row["image_id"].removeprefix("sha256:")[:12],
    }
    print_rows(from_environment().get("images"), columns, as_json=as_json)
