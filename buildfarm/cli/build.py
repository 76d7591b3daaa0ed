"""`buildfarm build`: start, follow, cancel, compare and repeat builds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import click

from buildfarm.cli.client import Client, from_environment
from buildfarm.cli.follow import Follower
from buildfarm.cli.output import (
    Columns,
    json_option,
    limit_option,
    plain,
    print_facts,
    print_part,
    print_rows,
    short_commit,
    short_ref,
)
from buildfarm.sources.names import spoken

#: Differences that a line of the table tells.
_TOLD = 3
_FACTS: Columns = {
    "id": "id",
    "source": lambda row: f"{row['source']} #{row['number']}",
    "state": "state",
    "cause": "cause",
    "class": "failure_class",
    "error": "first_error",
    "next": "next_step",
    "ref": "ref",
    "commit": "commit",
    "title": "title",
    "by": lambda row: f"{row['actor'] or 'nobody known'}, {row['trigger']}",
    "delivery": "delivery_id",
    "compares": "compares_id",
    "rebuilds": lambda row: (
        f"{row['rebuilds_id']}, as wheel build {row['wheel_build']}" if row["rebuilds_id"] else ""
    ),
    "recipe": lambda row: " ".join(filter(None, [row["recipe"], row["recipe_path"]])),
    "not followed": lambda row: "; ".join(row["not_followed"]),
    "release": lambda row: f"{row['project']} {row['version']} in {row['channel']}" if row["version"] else "",
    "made": "created_at",
    "started": "started_at",
    "finished": "finished_at",
}


@click.group()
def build() -> None:
    """Start, follow, cancel, compare and repeat builds."""


@build.command()
@click.argument("source")
@click.option("--ref", required=True, help="A branch, a tag, a full ref, or a commit id.")
@click.option("--commit", help="Build only if the ref holds this commit.")
@click.option("--fresh", is_flag=True, help="Run every job, also where the same input was built before.")
@click.option("--wait", is_flag=True, help="Wait for the end; exit code 1 unless it is published.")
@json_option
def start(source: str, *, ref: str, commit: str | None, fresh: bool, wait: bool, as_json: bool) -> None:
    """Build SOURCE at a ref, without a webhook."""
    client = from_environment()
    body = {"source": source, "ref": ref, "fresh": fresh} | ({"commit": commit} if commit else {})
    made = client.post("builds", body=body)
    if wait:
        finish(client, made["id"], as_json=as_json)
    else:
        print_build(made, as_json=as_json)


@build.command()
@click.argument("build_id")
@json_option
def wait(build_id: str, *, as_json: bool) -> None:
    """Wait for a build's end; exit code 1 unless it is published."""
    finish(from_environment(), build_id, as_json=as_json)


@build.command(name="list")
@click.option("--source", help="Of this source alone.")
@click.option("--state", help="In this state alone.")
@click.option("--before", help="Go on after this id.")
@limit_option
@json_option
def list_command(
    *, source: str | None, state: str | None, before: str | None, limit: int, as_json: bool
) -> None:
    """Builds, the newest first."""
    columns: Columns = {
        "id": "id",
        "source": lambda row: spoken(row["source"]),
        "state": "state",
        "ref": short_ref,
        "commit": short_commit,
        "made": "created_at",
        "error": lambda row: plain(row["first_error"])[:60],
    }
    found = from_environment().get("builds", source=source, state=state, before=before, limit=limit)
    print_rows(found, columns, as_json=as_json)


@build.command()
@click.argument("build_id")
@json_option
def show(build_id: str, *, as_json: bool) -> None:
    """One build with its jobs and files."""
    print_build(from_environment().get("builds", build_id), as_json=as_json)


@build.command()
@click.argument("build_id")
@json_option
def cancel(build_id: str, *, as_json: bool) -> None:
    """Ask for the end of a build."""
    print_build(from_environment().post("builds", build_id, "cancel"), as_json=as_json)


@build.command()
@click.argument("build_id")
@click.option("--wait", is_flag=True, help="Wait for the end; exit code 1 unless every file is equal.")
@json_option
def compare(build_id: str, *, wait: bool, as_json: bool) -> None:
    """Build the files of BUILD_ID once more from the same inputs, and compare them byte for byte.

    The second build publishes nothing, and runs on another builder where one is free.
    """
    client = from_environment()
    made = client.post("builds", build_id, "compare")
    if wait:
        made = Follower(client, _tell).build(made["id"])
    print_build(made, as_json=as_json)
    files = made["comparisons"]
    if wait and not (made["state"] == "compared" and files and all(file["is_equal"] for file in files)):
        click.get_current_context().exit(1)


@build.command()
@click.argument("build_id")
@click.option("--channel", default="dev", show_default=True, help="The durable channel that gets the files.")
@click.option("--wait", is_flag=True, help="Wait for the end; exit code 1 unless it is published.")
@json_option
def rebuild(build_id: str, *, channel: str, wait: bool, as_json: bool) -> None:
    """Make the wheels of a published release again, with the images and dependencies of today.

    They join the release of BUILD_ID under the next wheel build number, by which installers prefer them.
    """
    client = from_environment()
    made = client.post("builds", build_id, "rebuild", body={"channel": channel})
    if wait:
        finish(client, made["id"], as_json=as_json)
    else:
        print_build(made, as_json=as_json)


def finish(client: Client, build_id: str, *, as_json: bool) -> None:
    """Follow a build to its end and print it; exit code 1 unless it is published."""
    found = Follower(client, _tell).build(build_id)
    print_build(found, as_json=as_json)
    if found["state"] != "published":
        click.get_current_context().exit(1)


def _tell(line: str) -> None:
    click.echo(f"{datetime.now().astimezone():%H:%M:%S} {plain(line)}", err=True)


def print_build(found: dict[str, Any], *, as_json: bool) -> None:
    """One build with its jobs and files."""
    print_facts(found, _FACTS, as_json=as_json)
    if not as_json:
        jobs: Columns = {
            "target": "target",
            "state": "state",
            "cause": "cause",
            "id": "id",
            "error": lambda row: plain(_answered(row) or _wait(found["waits"].get(row["id"])))[:120],
        }
        print_part("Jobs", found["jobs"], jobs)
        print_part("Files", found["files"], {"name": "filename", "bytes": "size", "sha256": "sha256"})
        compared: Columns = {
            "name": "filename",
            "outcome": outcome,
            "first by": "builder",
            "then by": "rebuilt_builder",
            "differs": lambda row: differing(row["differences"]),
        }
        print_part("Built twice", found["comparisons"], compared)


def outcome(row: Mapping[str, Any]) -> str:
    """What a comparison found, in a word or two."""
    return "equal" if row["is_equal"] else "differs" if row["rebuilt_sha256"] else "not made again"


def differing(differences: Sequence[Mapping[str, str]]) -> str:
    """The first members that differ, and in what."""
    told = [f"{plain(one['member']) or 'the archive'}: {one['what']}" for one in differences[:_TOLD]]
    return "; ".join(told) + (f"; {len(differences) - _TOLD} more" if len(differences) > _TOLD else "")


def _answered(row: Mapping[str, Any]) -> str:
    return f"same input as {row['answered_by']}" if row["answered_by"] else row["first_error"] or ""


def _wait(wait: dict[str, Any] | None) -> str:
    return wait["sentence"] if wait else ""
