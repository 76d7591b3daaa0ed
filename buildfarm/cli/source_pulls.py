"""`buildfarm source pull-requests` and `source approve`: those of a source, and leave for those of forks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from buildfarm.cli.client import from_environment
from buildfarm.cli.output import Columns, json_option, limit_option, print_json, print_rows

Command = TypeVar("Command", bound=Callable[..., Any])
_COLUMNS: Columns = {
    "number": "number",
    "title": "title",
    "from": "head_repository",
    "head": "head",
    "waits": lambda row: "approval" if row["needs_approval"] and not row["closed_at"] else None,
    "stage": "stage",
    "until": "stage_until",
}


def requests_option(**more: Any) -> Callable[[Command], Command]:  # noqa: ANN401
    """The option that says which pull requests a source builds."""
    return click.option(
        "--pull-requests",
        type=click.Choice(["none", "own", "approved"]),
        help="Which are built: none, those of its own branches, or forks' too once approved.",
        **more,
    )


@click.command(name="pull-requests")
@click.argument("name")
@click.option("--before", type=click.IntRange(min=1), help="Go on after this number.")
@limit_option
@json_option
def pull_requests(name: str, *, before: int | None, limit: int, as_json: bool) -> None:
    """Pull requests of the source NAME that are open, and the stages that have their files."""
    found = from_environment().get("sources", name, "pull-requests", before=before, limit=limit)
    print_rows(found, _COLUMNS, as_json=as_json)


@click.command()
@click.argument("name")
@click.argument("number", type=click.IntRange(min=1))
@click.argument("commit")
@json_option
def approve(name: str, number: int, commit: str, *, as_json: bool) -> None:
    """Let COMMIT, the head of pull request NUMBER from a fork, be built.

    That one commit: what is pushed later needs an approval of its own. Give the full id, for others can be
    made that begin with the same digits.
    """
    body = {"commit": commit}
    build = from_environment().post("sources", name, "pull-requests", str(number), "approvals", body=body)
    if as_json:
        print_json(build)
    else:
        click.echo(f"Approved {commit}: build {build['id']} goes to {build['channel']}.")
