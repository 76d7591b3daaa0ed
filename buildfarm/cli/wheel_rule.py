"""`buildfarm mirror rule`: wheels that the farm builds by rule when upstream has none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

from buildfarm.cli.client import from_environment
from buildfarm.cli.output import json_option, print_facts, print_json, print_part, print_rows

_RULE = {
    "name": "name",
    "channel": "channel",
    "projects": "patterns",
    "newest": "newest",
    "pre-releases": "prereleases",
    "daily": "daily",
    "enabled": "enabled",
    "by": "actor",
    "changed": "changed_at",
}
_WANTED = {"project": "project", "version": "version", "targets": "targets"}
_LEFT = {"project": "project", "version": "version", "why not": "why_not"}
_BUILDS = {
    "id": "id",
    "project": "project",
    "version": "version",
    "state": "state",
    "error": "first_error",
}


@click.group()
def rule() -> None:
    """Which wheels the farm builds by rule when upstream has none."""


@rule.command(name="set")
@click.argument("name")
@click.argument("patterns", metavar="PATTERN...", nargs=-1, required=True)
@click.option("--channel", default="mirror", show_default=True, help="Whose policy holds.")
@click.option("--newest", default=1, show_default=True, help="So many of a project's newest releases.")
@click.option("--pre", is_flag=True, help="Pre-releases count among them.")
@click.option("--daily", default=20, show_default=True, help="Most builds within 24 hours.")
@click.option("--off", is_flag=True, help="Keep the rule, build nothing by it.")
@click.option("--dry-run", is_flag=True, help="Say what it would build; change nothing.")
@json_option
def set_command(
    name: str,
    patterns: tuple[str, ...],
    channel: str,
    newest: int,
    daily: int,
    *,
    pre: bool,
    off: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Have the wheels of projects that match PATTERN (`numpy`, `acme-*`) built where upstream has none."""
    body = {
        "channel": channel, "patterns": list(patterns), "newest": newest, "prereleases": pre,
        "daily": daily, "enabled": not off,
    }  # fmt: skip
    if not dry_run:
        print_facts(from_environment().put("wheel-rules", name, body=body), _RULE, as_json=as_json)
        return
    answer = from_environment().post("wheel-rules", "check", body=body)
    if as_json:
        print_json(answer)
    else:
        _print_releases(answer["releases"])


@rule.command(name="list")
@json_option
def list_command(*, as_json: bool) -> None:
    """Every rule."""
    print_rows(from_environment().get("wheel-rules"), _RULE, as_json=as_json)


@rule.command(name="show")
@click.argument("name")
@json_option
def show_command(name: str, *, as_json: bool) -> None:
    """What a rule will build, what it does not and why, what it has built."""
    answer = from_environment().get("wheel-rules", name)
    print_facts(answer, _RULE, as_json=as_json)
    if not as_json:
        _print_releases(answer["releases"])
        print_part("Builds", answer["builds"], _BUILDS)


@rule.command(name="remove")
@click.argument("name")
@json_option
def remove_command(name: str, *, as_json: bool) -> None:
    """Take a rule away; what it has built stays."""
    print_facts(from_environment().delete("wheel-rules", name), _RULE, as_json=as_json)


def _print_releases(releases: Sequence[Mapping[str, Any]]) -> None:
    wanted = [one for one in releases if one["why_not"] is None]
    if not wanted:
        click.echo("There is nothing that it would build.")
    print_part("Would build", wanted, _WANTED)
    print_part("Would not build", [one for one in releases if one["why_not"]], _LEFT)
