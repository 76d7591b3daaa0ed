"""`buildfarm token`: credentials for programs."""

from __future__ import annotations

import click

from buildfarm.cli.client import from_environment
from buildfarm.cli.output import Columns, json_option, plain, print_facts, print_json, print_rows


@click.group()
def token() -> None:
    """Credentials for programs."""


@token.command()
@click.option("--scope", "scopes", multiple=True, required=True, help="Such as read:dev, build, upload:dev.")
@click.option("--name", default="from the command line", help="What it is for.")
@click.option("--days", type=click.IntRange(1, 3650), default=90, show_default=True, help="Until it expires.")
@click.option("--never", is_flag=True, help="It never expires.")
@json_option
def create(scopes: tuple[str, ...], *, name: str, days: int, never: bool, as_json: bool) -> None:
    """Make a token; its value is shown this once."""
    body = {"name": name, "scopes": list(scopes), "days": None if never else days}
    made = from_environment().post("tokens", body=body)
    facts = {"token": "token", "id": "id", "name": "name", "scopes": "scopes", "expires": "expires_at"}
    print_facts(made, facts, as_json=as_json)


@token.command(name="list")
@click.option("--revoked", is_flag=True, help="Revoked ones too.")
@json_option
def list_command(*, revoked: bool, as_json: bool) -> None:
    """Tokens, the newest first."""
    columns: Columns = {
        "id": "id",
        "name": "name",
        "scopes": "scopes",
        "made": "created_at",
        "expires": "expires_at",
        "revoked": "revoked_at",
    }
    print_rows(from_environment().get("tokens", revoked=revoked or None), columns, as_json=as_json)


@token.command()
@click.argument("token_id")
@json_option
def revoke(token_id: str, *, as_json: bool) -> None:
    """End a token."""
    ended = from_environment().delete("tokens", token_id)
    if as_json:
        print_json(ended)
    else:
        click.echo(f"The token {plain(ended['name'])} is revoked.")
