"""`buildfarm source hook`: the hook in the SCM, and the script for a plain git server."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from buildfarm.cli.client import from_environment
from buildfarm.cli.credential import credential_body
from buildfarm.cli.output import Columns, json_option, print_facts, print_json, print_part
from buildfarm.cli.scm_token import scm_token_body
from buildfarm.errors import Conflict, ExternalFailure, NotFound

#: What a worker does with a hook is done in seconds; waiting for the SCM's call is most of it.
_PATIENCE_S, _LOOK_S = 90.0, 0.3
_HEALTH: Columns = {
    "asked": "verb",
    "outcome": lambda row: row["error"] or {True: "good", False: "not good", None: row["state"]}[row["good"]],
    "hook": lambda row: (row["health"] or {}).get("hook_id"),
    "calls": lambda row: (row["health"] or {}).get("url"),
    "events": lambda row: (row["health"] or {}).get("events"),
    "code": "code",
    "not as wanted": lambda row: " ".join((row["health"] or {}).get("drift") or ()),
    "says the SCM": lambda row: (row["health"] or {}).get("trouble"),
    "its call": lambda row: (row["health"] or {}).get("ping_detail"),
    "done": "done_at",
}
_WATCHED: Columns = {
    "last": "looked_at",
    "next": "next_look_at",
    "found": lambda row: row["problem"] or _found(row),
}


remove_hook_option = click.option(
    "--remove-hook", is_flag=True, help="Remove the hook that the farm made in the SCM first."
)


@click.group()
def hook() -> None:
    """The hook by which a source's SCM announces pushes."""


@hook.command()
@click.argument("name")
@json_option
def show(name: str, *, as_json: bool) -> None:
    """How the hook was when it was last looked at, and what the farm put right by itself."""
    found = from_environment().get("sources", name, "scm-hook")
    if as_json:
        print_json(found)
        return
    if found["order"]:
        print_facts(found["order"], _HEALTH, as_json=False)
    else:
        click.echo("Nobody has asked about it yet: `buildfarm source hook check` does.")
    print_part("Looked at unasked", [found["watched"] | {"hook_id": found["hook_id"]}], _WATCHED)
    print_part("Healed", found["watched"]["healed"], {"when": "at", "what": "sentence"})


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


def add_hooked(
    noun: str,
    body: dict[str, Any],
    given: dict[str, Any],
    facts: Columns,
    *,
    install_hook: bool,
    as_json: bool,
) -> dict[str, Any] | None:
    """Make a source or a connection and show it; where its hook is made too, what came of that.

    Args:
        noun: `sources` or `connections`.
        body: what is sent of it.
        given: the options for the repository's credential and for the SCM's API.
        facts: what is shown.
        install_hook: whether the farm makes the hook.
        as_json: whether a program reads it.

    Raises:
        UsageError: the hook is to be made, and no token was given.
    """
    for_scm = {key: given.pop(key) for key in list(given) if key.startswith("scm_")}
    access = {"credential": credential_body(**given), "scm_token": scm_token_body(**for_scm)}
    if install_hook and not access["scm_token"]:
        raise click.UsageError("The hook is made with a token: give --scm-token-file.")
    sent = body | {name: value for name, value in access.items() if value}
    made = from_environment().post(noun, body=sent)
    order = perform(body["name"], "repair") if install_hook else None
    print_facts(made | ({"hook": order} if order else {}), facts, as_json=as_json)
    if order and not as_json:
        print_facts(order, _HEALTH, as_json=False)
    if order and order["error"]:
        again = f"`buildfarm {noun.removesuffix('s')} hook repair {body['name']}` tries the hook again."
        click.echo(f"It is added, but its hook is not made. {again}", err=True)
    return order


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


def _found(row: Mapping[str, Any]) -> str:
    """What a look found where nothing is wrong."""
    if row["looked_at"] is None:
        return "nobody looked so far"
    return "all well" if row["hook_id"] else "no hook that the farm made"


def hook_of(name: str) -> str | None:
    """The SCM's id of the hook that the farm made for a source or connection; None where it made none."""
    try:
        found: str | None = from_environment().get("sources", name, "scm-hook")["hook_id"]
    except NotFound as error:
        if error.code != "forge.no_token":
            raise
        return None
    return found


def leave_hook(name: str, *, removes: bool) -> str:
    """Before a source or connection ends: its hook is removed from the SCM, or what is to be said of it.

    Raises:
        Conflict: `hook.not_removed`; nothing has ended then.
    """
    if (hook_id := hook_of(name)) is None:
        return ""
    if not removes:
        return f" Its hook {hook_id} is still in the SCM and calls in vain: remove it there."
    order = perform(name, "remove")
    if order["error"]:
        raise Conflict(
            f"The hook could not be removed, so {name} is still there. {order['error']}",
            code="hook.not_removed",
            hint="Without --remove-hook it ends, and its hook stays in the SCM.",
        )
    return f" Its hook {hook_id} was removed from the SCM."


def demand_good(order: dict[str, Any] | None) -> None:
    """End with exit code 1 when something was asked about the hook and failed, or it is not good."""
    if order and (order["state"] == "failed" or order["good"] is False):
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
