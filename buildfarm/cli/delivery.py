"""`buildfarm delivery`: webhook calls, and what became of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from buildfarm.cli.client import from_environment
from buildfarm.cli.output import (
    Columns,
    json_option,
    limit_option,
    print_facts,
    print_part,
    print_rows,
    short_ref,
)
from buildfarm.sources.names import spoken


@click.group()
def delivery() -> None:
    """Webhook calls, and what became of them."""


@delivery.command(name="list")
@click.option("--source", help="Of this source alone.")
@click.option("--state", help="accepted, ignored, rejected or duplicate.")
@click.option("--search", help="Words of ref, commit, actor, title, id or reason; or a time: 2026-11-29T14.")
@click.option("--before", help="Go on after this id.")
@limit_option
@json_option
def list_command(
    *,
    source: str | None,
    state: str | None,
    search: str | None,
    before: str | None,
    limit: int,
    as_json: bool,
) -> None:
    """Deliveries, the newest first."""
    columns: Columns = {
        "id": "id",
        "source": lambda row: spoken(row["source"]),
        "received": "received_at",
        "state": "state",
        "ref": short_ref,
        "why": lambda row: _why(row),
    }
    wanted: dict[str, Any] = {"source": source, "state": state, "search": search}
    found = from_environment().get("deliveries", **wanted, before=before, limit=limit)
    print_rows(found, columns, as_json=as_json)


@delivery.command()
@click.argument("delivery_id")
@json_option
def show(delivery_id: str, *, as_json: bool) -> None:
    """One delivery: each check, and what to do next."""
    found = from_environment().get("deliveries", delivery_id)
    facts: Columns = {
        "id": "id",
        "source": "source",
        "by connection": "connection",
        "received": "received_at",
        "state": "state",
        "why": "sentence",
        "next": "remedy",
        "event": "kind",
        "ref": "ref",
        "commit": "commit",
        "actor": "actor",
        "title": "title",
        "body": lambda row: (
            "not kept"
            if row["body_bytes"] is None
            else f"{row['body_bytes']} bytes, sha256 {row['body_sha256']}"
            + (
                " of the whole; only so much is kept, because the call was refused"
                if row["is_body_cut"]
                else ""
            )
        ),
    }
    print_facts(found, facts, as_json=as_json)
    if not as_json:
        checks: Columns = {"ok": lambda row: "ok" if row["ok"] else "no", "check": "name", "detail": "detail"}
        print_part("Checks", found["steps"], checks)
        if len(found["events"]) > 1:
            columns: Columns = {"ref": short_ref, "commit": "commit", "why": "sentence"}
            print_part("Announces", found["events"], columns)
        print_part("Builds", found["builds"], {"id": "id", "state": "state", "error": "first_error"})


@delivery.command()
@click.argument("delivery_id")
@json_option
def replay(delivery_id: str, *, as_json: bool) -> None:
    """Start another build for each thing that a verified delivery announced.

    Exit code 1 says why there is none.
    """
    made = from_environment().post("deliveries", delivery_id, "replay")
    columns: Columns = {"build": "id", "state": "state", "ref": short_ref, "commit": "commit"}
    print_rows(made, columns, as_json=as_json)


def _why(row: Mapping[str, Any]) -> str:
    """What became of it; of a comment what was asked, too."""
    asked = f"{row['title']}: " if row["kind"] == "comment" and row["reason"] else ""
    return asked + str(row["sentence"] or row["title"] or "")
