"""`buildfarm queue`: what waits, and whether it is handed to builders."""

from __future__ import annotations

from typing import Any

import click

from buildfarm.cli.client import from_environment
from buildfarm.cli.output import Columns, json_option, print_facts

_FACTS: Columns = {
    "paused": lambda row: _pause(row["paused"]),
    "running jobs": "running",
    "queued jobs": "queued",
    "oldest waits": lambda row: f"{row['oldest_wait_s']:.0f} s",
    "builders": lambda row: ", ".join(one["name"] for one in row["builders"]),
}


@click.group()
def queue() -> None:
    """What waits, and whether it is handed to builders."""


@queue.command()
@json_option
def show(*, as_json: bool) -> None:
    """What waits and runs, and who is there to run it."""
    print_facts(from_environment().get("queue"), _FACTS, as_json=as_json)


@queue.command()
@click.option("--reason", default="", help="For people who wonder why their build waits.")
@json_option
def pause(reason: str, *, as_json: bool) -> None:
    """Hand no job to any builder; what runs goes on, what comes in is queued."""
    print_facts(from_environment().put("queue", "pause", body={"reason": reason}), _FACTS, as_json=as_json)


@queue.command()
@json_option
def resume(*, as_json: bool) -> None:
    """Hand jobs to builders again."""
    print_facts(from_environment().delete("queue", "pause"), _FACTS, as_json=as_json)


def _pause(pause: dict[str, Any] | None) -> str:
    if pause is None:
        return "no"
    return f"since {pause['since']} by {pause['actor']}" + (f": {pause['reason']}" if pause["reason"] else "")
