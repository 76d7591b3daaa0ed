"""`buildfarm source set-scm-token`: what lets the farm answer the SCM; by file, never as an argument."""

from __future__ import annotations

from collections.abc import Callable
from typing import IO, Any

import click

from buildfarm.cli.client import from_environment
from buildfarm.cli.output import json_option, print_json


def scm_token_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options to `source add`; `scm_token_body` takes what they give."""
    options = [
        click.option("--scm-token-file", type=click.File(), help="Token for the SCM's API, `-` for stdin."),
        click.option("--scm-api-url", default="", help="The API's address, where the URL does not tell."),
        click.option("--scm-app-id", help="Id of a GitHub App; the token is then its private key."),
        click.option("--scm-ca-file", type=click.File(), help="Authorities of the API's certificate, PEM."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def scm_token_body(
    *, scm_token_file: IO[str] | None, scm_api_url: str, scm_app_id: str | None, scm_ca_file: IO[str] | None
) -> dict[str, str]:
    """What is sent; empty when nothing was given.

    Raises:
        UsageError: something was given, but no token.
    """
    if scm_token_file is None:
        if scm_api_url or scm_app_id or scm_ca_file:
            raise click.UsageError("Give the token too, with --scm-token-file.")
        return {}
    given = {
        "token": scm_token_file.read().strip(),
        "api_url": scm_api_url,
        "app_id": scm_app_id,
        "ca": scm_ca_file.read() if scm_ca_file else "",
    }
    return {name: value for name, value in given.items() if value}


@click.command(name="set-scm-token")
@click.argument("name")
@click.option("--token-file", type=click.File(), required=True, help="The token, `-` for stdin.")
@click.option("--api-url", default="", help="The API's address, where the source's URL does not tell.")
@click.option("--app-id", help="Id of a GitHub App; the file then holds its private key.")
@click.option("--ca-file", type=click.File(), help="Authorities of the API's certificate, PEM.")
@json_option
def set_scm_token(
    name: str,
    token_file: IO[str],
    api_url: str,
    app_id: str | None,
    ca_file: IO[str] | None,
    *,
    as_json: bool,
) -> None:
    """Keep the token for the SCM's API, in place of the one before: the SCM is told of builds from now on."""
    body = scm_token_body(
        scm_token_file=token_file, scm_api_url=api_url, scm_app_id=app_id, scm_ca_file=ca_file
    )
    answer = from_environment().put("sources", name, "scm-token", body=body)
    if as_json:
        print_json(answer)
    else:
        click.echo(f"Builds of {name} are told to {answer['answering']['api_url']}.")


@click.command(name="remove-scm-token")
@click.argument("name")
@json_option
def remove_scm_token(name: str, *, as_json: bool) -> None:
    """Forget the token for the SCM's API; what waits to be told is dropped."""
    answer = from_environment().delete("sources", name, "scm-token")
    if as_json:
        print_json(answer)
    else:
        click.echo(f"The SCM of {name} is told nothing more.")
