"""`buildfarm journal`: everything that changed what clients see."""

from __future__ import annotations

import json
from pathlib import Path

import click

from buildfarm.cli import pinned
from buildfarm.cli.client import Client, from_environment
from buildfarm.cli.output import Columns, json_option, limit_option, print_facts, print_rows
from buildfarm.errors import IntegrityFailure
from buildfarm.journal.recompute import Recomputed
from buildfarm.trust.note import Checkpoint
from buildfarm.trust.watch import signed_head

_PAGE = 200


@click.group()
def journal() -> None:
    """Everything that changed what clients see."""


@journal.command(name="list")
@click.option("--after", type=click.IntRange(0), default=0, help="Go on after this serial.")
@limit_option
@json_option
def list_command(*, after: int, limit: int, as_json: bool) -> None:
    """Rows of the journal, the oldest first."""
    columns: Columns = {
        "serial": "serial",
        "when": "at",
        "kind": "kind",
        "project": "project",
        "facts": lambda row: json.dumps(row["facts"], ensure_ascii=False),
    }
    print_rows(from_environment().get("journal", after=after, limit=limit), columns, as_json=as_json)


@journal.command()
@json_option
def checkpoint(*, as_json: bool) -> None:
    """The newest signed head of the journal."""
    found = from_environment().get("journal", "checkpoint")
    print_facts(found, {"size": "size", "signed": "at"}, as_json=as_json)
    if not as_json:
        click.echo(found["note"])


@journal.command()
@click.option(
    "--root", "root_path", type=click.Path(path_type=Path), help="Trusted root, instead of the pinned one."
)
@json_option
def verify(*, root_path: Path | None, as_json: bool) -> None:
    """Recompute the journal here, row by row, and hold it against its signed head.

    The head must be signed by the pinned log and continue the one that was seen here before. Exit code 1
    where anything of that is not so. Rows after the newest signed head are left out.
    """
    farm = from_environment()
    trusted = pinned.trusted_root(root_path, pinned.index(None), offline=False)
    log_id, head = signed_head(farm.get("journal", "checkpoint")["note"], trusted.root)
    rows = _recomputed(farm, head)
    found = rows.root()
    if found != head.root:
        raise IntegrityFailure(
            f"The {head.size} rows are not those of the signed head.",
            code="journal.root",
            hint=f"Signed is {head.root.hex()}, the rows give {found.hex()}: tell the farm's administrator.",
        )
    memory = pinned.memory().head(log_id, head, rows.consistency)
    facts = {"ok": True, "size": head.size, "origin": head.origin, "root": head.root.hex(), "memory": memory}
    columns = {"rows": "size", "log": "origin", "root": "root", "since last time": "memory"}
    print_facts(facts, columns, as_json=as_json)


def _recomputed(farm: Client, head: Checkpoint) -> Recomputed:
    rows = Recomputed()
    while rows.size < head.size:
        page = farm.get("journal", after=rows.size, limit=min(_PAGE, head.size - rows.size))
        if not page["items"]:
            raise IntegrityFailure(
                f"{head.size} rows were signed, the farm shows {rows.size}.", code="journal.short"
            )
        for row in page["items"]:
            rows.add(row)
    return rows
