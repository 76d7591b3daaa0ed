"""`buildfarm source hook`: the hook in the SCM, and the script for a plain git server."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import click

from buildfarm.cli.client import from_environment
from buildfarm.cli.output import Columns, json_option, print_facts, print_json
from buildfarm.errors import ExternalFailure

#: What a worker does with a hook is done in seconds; waiting for the SCM's call is most of it.
_PATIENCE_S, _LOOK_S = 90.0, 0.3
_HEALTH: Columns = {
    "asked": "verb",
    "outcome": lambda row: row["error"] or {True: "good", False: "not good", None: row["state"]}[row["good"]],
    "hook": lambda row: (row["health"] or {}).get("hook_id"),
    "calls": lambda row: (row["health"] or {}).get("url"),
    "events": lambda row: (row["health"] or {}).get("events"),
    "not as wanted": lambda row: (row["health"] or {}).get("drift"),
    "says the SCM": lambda row: (row["health"] or {}).get("trouble"),
    "its call": lambda row: (row["health"] or {}).get("ping_detail"),
    "done": "done_at",
}


@click.group()
def hook() -> None:
    """The hook by which a source's SCM announces pushes."""


@hook.command()
@click.argument("name")
@json_option
def show(name: str, *, as_json: bool) -> None:
    """How the hook was when it was last looked at."""
    found = from_environment().get("sources", name, "scm-hook")
    if as_json:
        print_json(found)
    elif found["order"]:
        print_facts(found["order"], _HEALTH, as_json=False)
    else:
        click.echo("Nobody has looked at it yet: `buildfarm source hook check` does.")


@hook.command()
@click.argument("name")
@json_option
def check(name: str, *, as_json: bool) -> None:
    """Compare the hook with what the farm wants, and have the SCM call it; exit code 1 when not good."""
    _order(name, "check", as_json=as_json)


@hook.command()
@click.argument("name")
@json_option
def repair(name: str, *, as_json: bool) -> None:
    """Make the hook as the farm wants it, also where there is none, and have the SCM call it."""
    _order(name, "repair", as_json=as_json)


@hook.command()
@click.argument("name")
@json_option
def rotate(name: str, *, as_json: bool) -> None:
    """Give the hook new secrets; the last ones stay good until this is done again."""
    _order(name, "rotate", as_json=as_json)


@hook.command()
@click.argument("name")
@json_option
def remove(name: str, *, as_json: bool) -> None:
    """Remove the hook from the SCM; the source stays."""
    _order(name, "remove", as_json=as_json)


@hook.command()
@click.argument("name")
@click.option(
    "--into",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Write both files into this folder, such as repository.git/hooks.",
)
@json_option
def script(name: str, *, into: Path | None, as_json: bool) -> None:
    """The post-receive script that lets a plain git server announce its pushes."""
    files = from_environment().get("sources", name, "hook")
    if as_json:
        print_json(files)
    elif into is None:
        click.echo(files["script"], nl=False)
        click.echo(
            f"The settings are a secret: --into writes them beside it as {files['config_name']}.", err=True
        )
    if into:
        _write(into / "post-receive", files["script"], 0o755)
        _write(into / Path(files["config_name"]).name, files["config"], 0o600)
        click.echo(f"Wrote post-receive and {files['config_name']} into {into}.", err=True)


def perform(name: str, verb: str) -> dict[str, Any]:
    """Have a worker do something with the hook; what came of it.

    Raises:
        ExternalFailure: `hook.no_worker`, nobody did it.
    """
    farm = from_environment()
    order: dict[str, Any] = farm.post("sources", name, "scm-hook", body={"verb": verb})
    deadline = time.monotonic() + _PATIENCE_S
    while order["state"] == "waiting":
        if time.monotonic() > deadline:
            raise ExternalFailure(
                "No worker has done this so far.",
                code="hook.no_worker",
                hint=f"`buildfarm source hook show {name}` tells when it is done; is the notifier running?",
            )
        time.sleep(_LOOK_S)
        latest = farm.get("sources", name, "scm-hook")["order"]
        order = latest if latest["id"] == order["id"] else order
    return order


def print_health(order: dict[str, Any]) -> None:
    """What came of an order, for people."""
    print_facts(order, _HEALTH, as_json=False)


def demand_good(order: dict[str, Any]) -> None:
    """End with exit code 1 when it failed, or the hook is not good."""
    if order["state"] == "failed" or order["good"] is False:
        raise SystemExit(1)


def _order(name: str, verb: str, *, as_json: bool) -> None:
    order = perform(name, verb)
    print_facts(order, _HEALTH, as_json=as_json)
    demand_good(order)


def _write(path: Path, text: str, mode: int) -> None:
    """Write a file that never stands there half, nor with more rights than `mode`."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as file:
        os.fchmod(file.fileno(), mode)
        file.write(text)
    fresh.replace(path)
