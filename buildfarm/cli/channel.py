"""`buildfarm channel`: the ladder that releases climb, and the channels that show what others have."""

from __future__ import annotations

import click

from buildfarm.cli.client import from_environment
from buildfarm.cli.output import Columns, json_option, print_facts, print_rows

_FACTS: Columns = {
    "name": "name",
    "kind": "kind",
    "files": "files",
    "public": "public",
    "parts": "parts",
    "policy": lambda row: sorted(row["policy"]),
    "index": "index_url",
}
_PARTS = click.option("--part", "parts", multiple=True, help="A channel that a union shows; in order.")
_PUBLIC = click.option("--public/--private", default=None, help="Whether everybody may read it.")


@click.group()
def channel() -> None:
    """The ladder that releases climb, mirrors and unions."""


@channel.command(name="list")
@json_option
def list_command(*, as_json: bool) -> None:
    """Channels: the ladder, the lowest first, then mirrors and unions; and what to tell pip."""
    columns = {name: _FACTS[name] for name in ("name", "kind", "files", "public", "parts", "index")}
    print_rows(from_environment().get("channels"), columns, as_json=as_json)


@channel.command()
@click.argument("name")
@json_option
def show(name: str, *, as_json: bool) -> None:
    """One channel."""
    print_facts(from_environment().get("channels", name), _FACTS, as_json=as_json)


@channel.command()
@click.argument("name")
@click.option(
    "--kind",
    type=click.Choice(["durable", "mirror", "union"]),
    default="durable",
    show_default=True,
    help="With files of its own, an upstream's by policy, or its parts in order.",
)
@_PARTS
@_PUBLIC
@json_option
def add(
    name: str,
    *,
    kind: str,
    parts: tuple[str, ...],
    public: bool | None,
    as_json: bool,
) -> None:
    """Make a channel; a durable one is the highest rung of the ladder."""
    body = {"name": name, "kind": kind, "parts": list(parts), "public": bool(public)}
    print_facts(from_environment().post("channels", body=body), _FACTS, as_json=as_json)


@channel.command(name="set")
@click.argument("name")
@_PARTS
@_PUBLIC
@json_option
def set_command(name: str, *, parts: tuple[str, ...], public: bool | None, as_json: bool) -> None:
    """Change who may read a channel, or what a union is made of."""
    body = {"public": public, "parts": list(parts) or None}
    given = {key: value for key, value in body.items() if value is not None}
    if not given:
        raise click.UsageError("Say what to change.")
    print_facts(from_environment().patch("channels", name, body=given), _FACTS, as_json=as_json)
