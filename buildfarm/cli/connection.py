"""`buildfarm connection`: one hook for all repositories of an organisation, group, project or workspace."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from buildfarm.cli.client import from_environment
from buildfarm.cli.credential import credential_options
from buildfarm.cli.output import Columns, json_option, print_facts, print_json, print_part, print_rows
from buildfarm.cli.scm_token import scm_token_options
from buildfarm.cli.source_hook import add_hooked, demand_good, hook, leave_hook, remove_hook_option

_FACTS: Columns = {
    "name": "name",
    "owner": "url",
    "scm": "scm",
    "branches": "branches",
    "tags": "tags",
    "tier": "tier",
    "hook url": "hook_url",
    "secret": "secret",
    "signing token": "signing_token",
    "added": "created_at",
    "last call": lambda row: _last_call(row),
}


@click.group()
def connection() -> None:
    """Owners whose repositories the farm listens to by one hook, and offers.

    `source rotate`, `source set-scm-token` and `source set-credential` take a connection's name, too.
    """


connection.add_command(hook)


@connection.command()
@click.argument("name")
@click.argument("url")
@click.option("--scm", help="github, gitlab, gitea, forgejo, bitbucket-data-center or bitbucket-cloud.")
@click.option("--branch", "branches", multiple=True, help="Pattern of branches that its sources build.")
@click.option(
    "--tag", "tags", multiple=True, default=("*",), show_default=True, help="Pattern of tags that they build."
)
@click.option("--tier", default="dev", show_default=True, help="Their trust: release, dev or untrusted.")
@credential_options
@scm_token_options
@click.option("--install-hook", is_flag=True, help="Make the hook in the SCM too, and have it called.")
@json_option
def add(
    name: str,
    url: str,
    *,
    scm: str | None,
    branches: tuple[str, ...],
    tags: tuple[str, ...],
    tier: str,
    install_hook: bool,
    as_json: bool,
    **given: Any,  # noqa: ANN401
) -> None:
    """Listen to all repositories of the owner at URL, such as https://ghe.example/acme, under NAME.

    Prints the hook URL and secrets to enter in the SCM; the secrets are shown this once. With
    --install-hook nothing is to be entered: exit code 1 when the hook is not good.
    """
    body = {
        "name": name,
        "url": url,
        "scm": scm,
        "branches": list(branches),
        "tags": list(tags),
        "tier": tier,
    }
    order = add_hooked("connections", body, given, _FACTS, install_hook=install_hook, as_json=as_json)
    demand_good(order)


@connection.command(name="list")
@json_option
def list_command(*, as_json: bool) -> None:
    """Every connection."""
    columns: Columns = {
        "name": "name",
        "scm": "scm",
        "last call": _last_call,
        "owner": "url",
    }
    print_rows(from_environment().get("connections"), columns, as_json=as_json)


@connection.command()
@click.argument("name")
@json_option
def show(name: str, *, as_json: bool) -> None:
    """One connection."""
    found = from_environment().get("connections", name)
    print_facts(found, _FACTS, as_json=as_json)
    if not as_json:
        used: Columns = {"kind": "kind", "made": "created_at", "used": "last_used_at"}
        print_part("Secrets", found["secrets"], used)


@connection.command()
@click.argument("name")
@remove_hook_option
@json_option
def remove(name: str, *, remove_hook: bool, as_json: bool) -> None:
    """Take no more calls of its hook; the sources that came of it stay, but need hooks of their own.

    The hook stays in the SCM without --remove-hook.
    """
    left = leave_hook(name, removes=remove_hook)
    answer = from_environment().delete("connections", name)
    if as_json:
        print_json(answer)
    else:
        click.echo(f"The connection {name} is removed.{left}")


def _last_call(row: Mapping[str, Any]) -> str | None:
    """When a call last came that was rightly signed."""
    return max(filter(None, (secret["last_used_at"] for secret in row["secrets"])), default=None)
