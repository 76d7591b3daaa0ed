"""`buildfarm channel`: the ladder that releases climb, and the channels that show what others have."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import click

from buildfarm.cli.client import from_environment
from buildfarm.cli.output import Columns, json_option, print_facts, print_rows
from buildfarm.errors import InvalidInput

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
_POLICY = click.option(
    "--policy",
    "policy_file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="TOML: what a mirror lets through.",
)


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
@_POLICY
@json_option
def add(
    name: str,
    *,
    kind: str,
    parts: tuple[str, ...],
    public: bool | None,
    policy_file: Path | None,
    as_json: bool,
) -> None:
    """Make a channel; a durable one is the highest rung of the ladder."""
    body = {"name": name, "kind": kind, "parts": list(parts), "public": bool(public)}
    body |= {"policy": _read(policy_file)} if policy_file else {}
    print_facts(from_environment().post("channels", body=body), _FACTS, as_json=as_json)


@channel.command(name="set")
@click.argument("name")
@_PARTS
@_PUBLIC
@_POLICY
@json_option
def set_command(
    name: str, *, parts: tuple[str, ...], public: bool | None, policy_file: Path | None, as_json: bool
) -> None:
    """Change who may read a channel, what a union is made of, or what a mirror lets through."""
    body: dict[str, Any] = {"public": public, "parts": list(parts) or None}
    body["policy"] = _read(policy_file) if policy_file else None
    given = {key: value for key, value in body.items() if value is not None}
    if not given:
        raise click.UsageError("Say what to change.")
    print_facts(from_environment().patch("channels", name, body=given), _FACTS, as_json=as_json)


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as err:
        raise InvalidInput(f"{path} is no TOML: {err}.", code="policy.syntax") from err
