"""`buildfarm release`: show, promote, yank and withdraw."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from buildfarm.cli.client import from_environment
from buildfarm.cli.output import (
    Columns,
    findings_of,
    json_option,
    judged_by,
    plain,
    print_facts,
    print_json,
    print_part,
    release_of,
)
from buildfarm.cli.project import channels_of

_RELEASE = click.argument("release", metavar="NAME==VERSION")


@click.group()
def release() -> None:
    """Show, promote, yank and withdraw releases."""


@release.command()
@_RELEASE
@json_option
def show(release: str, *, as_json: bool) -> None:
    """One release with its files and what each was built from."""
    found = from_environment().get("releases", *release_of(release))
    facts: Columns = {
        "name": "project",
        "version": "version",
        "summary": "summary",
        "channels": channels_of,
        "may go on": lambda row: _step(row["following"]),
        "yanked": lambda row: "yes" if row["yanked"] else "",
        "made": "created_at",
    }
    print_facts(found, facts, as_json=as_json)
    if not as_json:
        columns: Columns = {
            "name": "filename",
            "bytes": "size",
            "channels": lambda row: "withdrawn" if row["withdrawn_at"] else " ".join(row["channels"]),
            "provenance": lambda row: "provenance" if row["has_provenance"] else "",
            "built twice": lambda row: _compared(row["comparisons"]),
            "from": lambda row: _origin(row["origin"]),
        }
        print_part("Files", found["files"], columns)
        noted = [file for file in found["files"] if file["findings"] or file["refused"]]
        print_part("Findings", noted, {"name": "filename", "refused today": "refused", "found": findings_of})
        print_part("Judged", found["files"], {"name": "filename", "ms": _duration, "by": judged_by})


@release.command()
@_RELEASE
@click.option("--from", "from_channel", required=True, help="The channel that holds it.")
@click.option("--to", "to_channel", required=True, help="The channel to add it to.")
@json_option
def promote(release: str, *, from_channel: str, to_channel: str, as_json: bool) -> None:
    """Add a release to the next channel; clients see it when the command is done."""
    name, version = release_of(release)
    body = {"project": name, "version": version, "from": from_channel, "to": to_channel}
    made = from_environment().post("promotions", body=body)
    facts: Columns = {
        "promotion": "id",
        "release": lambda row: f"{row['project']} {row['version']}",
        "now in": "to_channel",
        "files": "files",
    }
    print_facts(made, facts, as_json=as_json)


@release.command()
@_RELEASE
@click.option("--reason", default="", help="Why; clients show it.")
@json_option
def yank(release: str, *, reason: str, as_json: bool) -> None:
    """Mark a release: installed only where it is pinned."""
    found = from_environment().post("releases", *release_of(release), "yank", body={"reason": reason})
    _say(found, "is yanked", as_json=as_json)


@release.command()
@_RELEASE
@json_option
def unyank(release: str, *, as_json: bool) -> None:
    """Take the mark away."""
    _say(
        from_environment().post("releases", *release_of(release), "unyank"), "is not yanked", as_json=as_json
    )


@release.command()
@_RELEASE
@click.option("--file", "files", multiple=True, help="Only this file of it.")
@click.option("--reason", required=True, help="Why, for the journal.")
@json_option
def withdraw(release: str, *, files: tuple[str, ...], reason: str, as_json: bool) -> None:
    """Take files out of every channel for good; their names never come back."""
    body = {"files": list(files), "reason": reason}
    found = from_environment().post("releases", *release_of(release), "withdraw", body=body)
    _say(found, "is withdrawn" if not files else f"no longer has {plain(files)}", as_json=as_json)


def _say(found: dict[str, Any], what: str, *, as_json: bool) -> None:
    if as_json:
        print_json(found)
    else:
        click.echo(f"{plain(found['project'])} {plain(found['version'])} {what}.")


def _duration(file: Mapping[str, Any]) -> int | None:
    return file["check"]["milliseconds"] if file["check"] else None


def _compared(rows: list[dict[str, Any]]) -> str:
    builders = {row["rebuilt_builder"] for row in rows if row["is_equal"]}
    told = [f"reproduced by {len(builders)}"] if builders else []
    return ", ".join(told + ["differs"] * any(not row["is_equal"] for row in rows))


def _step(following: dict[str, str] | None) -> str:
    return f"from {following['from_channel']} to {following['to_channel']}" if following else ""


def _origin(origin: dict[str, Any] | None) -> str:
    return (
        f"{origin['source']} #{origin['build_number']} {(origin['commit'] or '')[:10]}"
        if origin
        else "upload"
    )
