"""`buildfarm job`: one target of a build, and its log."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from typing import Any

import click

from buildfarm.cli.client import from_environment
from buildfarm.cli.follow import Follower
from buildfarm.cli.output import Columns, json_option, log_text, plain, print_facts, print_part
from buildfarm.cli.reproduce import reproduce


@click.group()
def job() -> None:
    """One target of a build, and its log."""


job.add_command(reproduce)


@job.command()
@click.argument("job_id")
@json_option
def show(job_id: str, *, as_json: bool) -> None:
    """One job with its attempts, artifacts and what it read."""
    client = from_environment()
    found = client.get("jobs", job_id)
    inner = found["job"]
    facts: Columns = {
        "id": "id",
        "build": lambda _: f"{found['source']} #{found['build_number']}, {inner['build_id']}",
        "target": lambda row: row["target"] if row["required"] else f"{row['target']} (optional)",
        "state": "state",
        "same input as": "answered_by",
        "cause": "cause",
        "class": "failure_class",
        "phase": "phase",
        "error": "first_error",
        "line": lambda row: _anchor(client.page("jobs", job_id), row["error_line"]),
        "next": "next_step",
        "waits": lambda _: found["wait"]["sentence"] if found["wait"] else "",
        "expected": lambda _: found["wait"]["expected_at"] if found["wait"] else "",
        "started": "started_at",
        "finished": "finished_at",
        "image": "build_image",
    }
    print_facts(found if as_json else inner, facts, as_json=as_json)
    if not as_json:
        attempts: Columns = {
            "number": "number",
            "state": "state",
            "builder": "builder",
            "started": "started_at",
            "log": lambda row: f"{row['log_lines']} lines",
            "error": "first_error",
        }
        _print_difference(found["since_good"])
        print_part("Attempts", found["attempts"], attempts)
        print_part("Artifacts", inner["artifacts"], {"name": "filename", "bytes": "size", "sha256": "sha256"})
        read: Columns = {"name": "filename", "of": "ecosystem", "from": "origin", "sha256": "sha256"}
        print_part("Read", inner["dependencies"], read)


@job.command()
@click.argument("job_id")
@click.option("-f", "--follow", is_flag=True, help="Go on until the job ends, over new attempts too.")
@click.option("--attempt", type=click.IntRange(1), help="Of this attempt; without it the newest.")
@click.option("--timestamps", is_flag=True, help="Put the time before each line (UTC).")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object for each segment.")
def logs(job_id: str, *, follow: bool, attempt: int | None, timestamps: bool, as_json: bool) -> None:
    """The log of a job.

    Following survives a restart of the farm's web: it goes on at the offset it had reached.
    """
    client = from_environment()
    if not (follow or timestamps or as_json):
        for text in client.text("jobs", job_id, "log", attempt=attempt):
            _print(text)
        return
    for segment in Follower(client, lambda line: click.echo(plain(line), err=True)).log(
        job_id, attempt, follow=follow
    ):
        if as_json:
            click.echo(json.dumps(segment, ensure_ascii=False))
        else:
            _print(_timed(segment) if timestamps else segment["text"])


def _print_difference(good: dict[str, Any] | None) -> None:
    if good is None:
        return
    title = f"Since #{good['build_number']}, the last good one ({good['job_id']})"
    changes = [*good["changes"], *good["dependencies"]]
    nothing = {"what": "nothing", "before": "the same commit, recipe, images and files", "now": None}
    print_part(title, changes or [nothing], {"different": "what", "then": "before", "now": "now"})


def _anchor(page: str, line: int | None) -> str:
    return f"{line}, {page}?line={line}#L{line}" if line else ""


def _print(text: str) -> None:
    # A pipe gets the text as it is; a terminal must not be steered by what a build printed.
    click.echo(log_text(text) if sys.stdout.isatty() else text, nl=False, color=True)


def _timed(segment: dict[str, Any]) -> str:
    lines = segment["text"].split("\n")[:-1]
    return "".join(
        f"{datetime.fromtimestamp(at_ms / 1000, UTC):%Y-%m-%dT%H:%M:%S.%f}"[:-3] + f"Z {line}\n"
        for line, at_ms in zip(lines, segment["times"], strict=True)
    )
