"""`buildfarm namespace`: prefixes of names that are reserved (PEP 752)."""

from __future__ import annotations

import click

from buildfarm.cli.client import from_environment
from buildfarm.cli.output import Columns, json_option, plain, print_facts, print_json, print_rows

_FACTS: Columns = {
    "prefix": "prefix",
    "owners": lambda row: row["owners"] or "administrators",
    "reserved": "created_at",
    "covers": "projects",
}


@click.group()
def namespace() -> None:
    """Prefixes of names that are reserved."""


@namespace.command()
@click.argument("prefix")
@click.option("--owner", "owners", multiple=True, help="source:NAME, user:NAME or token:ID; repeatable.")
@json_option
def add(prefix: str, *, owners: tuple[str, ...], as_json: bool) -> None:
    """Reserve PREFIX and every name that begins with PREFIX and a hyphen.

    Its owners publish there, without one administrators alone. None of its names is asked upstream.
    """
    body = {"prefix": prefix, "owners": list(owners)}
    print_facts(from_environment().post("namespaces", body=body), _FACTS, as_json=as_json)


@namespace.command(name="list")
@json_option
def list_command(*, as_json: bool) -> None:
    """Every reserved prefix."""
    print_rows(from_environment().get("namespaces"), _FACTS, as_json=as_json)


@namespace.command()
@click.argument("prefix")
@json_option
def show(prefix: str, *, as_json: bool) -> None:
    """One reserved prefix and the local names that it covers."""
    print_facts(from_environment().get("namespaces", prefix), _FACTS, as_json=as_json)


@namespace.command()
@click.argument("prefix")
@json_option
def remove(prefix: str, *, as_json: bool) -> None:
    """Give a prefix up; names that are ours stay ours."""
    gone = from_environment().delete("namespaces", prefix)
    if as_json:
        print_json(gone)
    else:
        click.echo(f"The namespace {plain(gone['prefix'])} is given up.")
