"""`buildfarm source offered`, `accept` and `dismiss`: repositories that connections told of."""

from __future__ import annotations

from typing import Any

import click

from buildfarm.cli.client import from_environment
from buildfarm.cli.output import Columns, coded, json_option, limit_option, print_json, print_rows
from buildfarm.cli.project import warn_of_lookalikes
from buildfarm.errors import NotFound

_COLUMNS: Columns = {
    "repository": "path",
    "connection": "connection",
    "state": "state",
    "recipes": "recipes",
    "last push": "told_at",
    "url": "url",
    "problem": "problem",
}


@click.command()
@click.option(
    "--all", "of_all", is_flag=True, help="Those without a recipe, accepted and dismissed ones, too."
)
@click.option("--before", help="Go on after this id.")
@limit_option
@json_option
def offered(*, of_all: bool, before: str | None, limit: int, as_json: bool) -> None:
    """Repositories with a recipe that connections told of and no source listens to."""
    state = "all" if of_all else "offered"
    found = from_environment().get("offered-repositories", state=state, before=before, limit=limit)
    print_rows(found, _COLUMNS, as_json=as_json)


@click.command()
@click.argument("url")
@click.option("--name", help="What the source is called; without it, as the repository.")
@click.option("--project", "projects", multiple=True, help="A project it may publish; makes the name ours.")
@json_option
def accept(url: str, *, name: str | None, projects: tuple[str, ...], as_json: bool) -> None:
    """Listen to an offered repository, named by its URL, and build what was pushed.

    It needs no hook of its own.
    """
    farm = from_environment()
    body: dict[str, Any] = {"projects": list(projects)} | ({"name": name} if name else {})
    made = farm.post("offered-repositories", _id_of(url), "accept", body=body)
    if as_json:
        print_json(made)
    else:
        click.echo(f"The source {made['name']} is there; its pushes come by the connection's hook.")
        click.echo(
            f"What was pushed is built: {made['build_url']}" if made["build"] else coded(made, "not_built")
        )
    warn_of_lookalikes(farm, projects)


@click.command()
@click.argument("url")
@json_option
def dismiss(url: str, *, as_json: bool) -> None:
    """Offer a repository no more, whatever is pushed to it."""
    answer = from_environment().post("offered-repositories", _id_of(url), "dismiss", body={})
    if as_json:
        print_json(answer)
    else:
        click.echo(f"{answer['path']} is offered no more.")


def _id_of(url: str) -> str:
    """The offer of a repository, by its URL as `source offered` prints it.

    Raises:
        NotFound: `offer.unknown`.
    """
    found = from_environment().get("offered-repositories", state="all", url=url, limit=1)["items"]
    if not found:
        hint = "`buildfarm source offered --all` shows those that connections told of."
        raise NotFound(f"No connection told of {url}.", code="offer.unknown", hint=hint)
    return str(found[0]["id"])
