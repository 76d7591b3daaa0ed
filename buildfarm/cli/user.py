"""`buildfarm user`: local people."""

from __future__ import annotations

import sys

import click

from buildfarm.cli.client import from_environment
from buildfarm.cli.output import json_option, print_facts, print_rows


@click.group()
def user() -> None:
    """Local people."""


@user.command()
@click.argument("name")
@click.option("--admin", is_flag=True, help="They may do everything.")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
@json_option
def add(name: str, *, admin: bool, password_stdin: bool, as_json: bool) -> None:
    """Let a person log in; asks for the password."""
    client = from_environment()
    if password_stdin:
        password = sys.stdin.readline().rstrip("\n")
    else:
        password = click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    made = client.post("users", body={"name": name, "password": password, "is_admin": admin})
    print_facts(made, {"name": "name", "admin": "is_admin", "id": "id"}, as_json=as_json)


@user.command(name="list")
@json_option
def list_command(*, as_json: bool) -> None:
    """Local people, by name."""
    columns = {"name": "name", "admin": "is_admin", "made": "created_at", "disabled": "disabled_at"}
    print_rows(from_environment().get("users"), columns, as_json=as_json)
