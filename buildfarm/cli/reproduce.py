"""`buildfarm job reproduce`: an attempt of the farm run again on this machine."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from buildfarm.cli.client import Client, from_environment
from buildfarm.cli.output import Columns, json_option, print_facts, print_json, print_part
from buildfarm.errors import NotFound

_NEEDS: Columns = {
    "job": "job",
    "attempt": "attempt",
    "ended": "ended",
    "source": "source",
    "image": "build_image",
    "test image": "test_image",
    "read": "read",
    "command": "command",
}


@click.command()
@click.argument("job_id")
@click.option("--attempt", type=click.IntRange(1), help="This attempt; without it the newest.")
@click.option("--run", is_flag=True, help="Run it; without this, say what it takes.")
@click.option(
    "--into", type=click.Path(path_type=Path, file_okay=False), help="A new folder for what comes of it."
)
@json_option
def reproduce(job_id: str, *, attempt: int | None, run: bool, into: Path | None, as_json: bool) -> None:
    """Run an attempt again here, on the engine that DOCKER_HOST names; exit code 1 when it ends otherwise.

    Same plan, source snapshot and images, and the index shows of each dependency only the files that the
    attempt read. The farm does not learn of it. The token needs the scope `build`.
    """
    client = from_environment()
    number = attempt or _newest(client, job_id)
    plan = client.get("jobs", job_id, "attempts", str(number))
    folder = into or Path(f"{job_id}_{number}")
    if not run:
        print_facts(_needs(plan, folder), _NEEDS, as_json=as_json)
        return
    # Here, so that the other commands do not wait for the engine's library.
    from buildfarm.cli import recorded

    result = recorded.run(client, job_id, number, plan, folder)
    if as_json:
        print_json(result)
    else:
        _print_result(result)
    raise SystemExit(0 if result["alike"] else 1)


def _newest(client: Client, job_id: str) -> int:
    attempts = client.get("jobs", job_id)["attempts"]
    if not attempts:
        raise NotFound(f"No builder has taken job {job_id} yet.", code="attempt.unknown")
    return int(attempts[-1]["number"])


def _needs(plan: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    spec = plan["spec"]
    job, attempt = spec["job_id"], spec["attempt"]
    command = [
        "buildfarm",
        "job",
        "reproduce",
        job,
        "--attempt",
        str(attempt),
        "--run",
        "--into",
        str(folder),
    ]
    return {
        "job": job,
        "attempt": attempt,
        "ended": _ending(plan),
        "source": f"sha256:{spec['source_sha256']}",
        "build_image": spec["build_image"],
        "test_image": spec["test_image"],
        "read": f"{len(plan['dependencies'])} files of the index",
        "command": shlex.join(command),
    }


def _ending(one: Mapping[str, Any]) -> str:
    told = [one["state"], one["failure_class"] or one["cause"], one["phase"] and f"in {one['phase']}"]
    return " ".join(part for part in told if part) + (f": {one['first_error']}" if one["first_error"] else "")


def _print_result(result: Mapping[str, Any]) -> None:
    facts: Columns = {
        "then": lambda row: _ending(row["then"]),
        "now": lambda row: _ending(row["now"]),
        "alike": "alike",
        "folder": "folder",
        "not pinned": "unpinned",
    }
    print_facts(result, facts, as_json=False)
    print_part("Files", result["files"], {"name": "filename", "then": "then", "now": "now"})
