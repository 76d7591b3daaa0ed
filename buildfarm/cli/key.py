"""`buildfarm key`: the keys behind statements."""

from __future__ import annotations

import click

from buildfarm.cli.client import from_environment
from buildfarm.cli.output import Columns, json_option, plain, print_facts, print_json, print_rows

_STATE: Columns = {
    "trusted root": "root_url",
    "sha256": "root_sha256",
    "log": "origin",
    "log entries signed": "checkpoint_size",
    "statements": "attested",
    "issuing until": "issuing_valid_until",
    "user": "uid",
    "network": "network",
}


@click.group()
def key() -> None:
    """The keys behind statements. Private ones never leave the signer."""


@key.command(name="list")
@json_option
def list_command(*, as_json: bool) -> None:
    """The keys that the trusted root holds."""
    columns: Columns = {
        "id": lambda row: row["id"][:16],
        "kind": "kind",
        "algorithm": "algorithm",
        "since": "since",
        "until": "until",
        "state": "state",
    }
    print_rows(from_environment().get("keys"), columns, as_json=as_json)


@key.command()
@click.argument("key_id", metavar="[ID]", required=False)
@json_option
def show(key_id: str | None, *, as_json: bool) -> None:
    """One key; without an ID the signer, and the digest that people compare at their first verification."""
    if key_id is None:
        print_facts(from_environment().get("keys", "signer"), _STATE, as_json=as_json)
        return
    found = from_environment().get("keys", key_id)
    if as_json:
        print_json(found)
        return
    names = ("id", "kind", "algorithm", "since", "until", "state")
    print_facts(found, {name: name for name in names}, as_json=False)
    for line in found["pem"].splitlines():
        click.echo(plain(line))


@key.command()
@json_option
def rotate(*, as_json: bool) -> None:
    """Put a new issuing authority in place; what the present one signed stays valid.

    The trusted root changes: everybody who pinned it must pin the new one, whose digest is printed.
    """
    print_facts(from_environment().post("keys", "rotate"), _STATE, as_json=as_json)
