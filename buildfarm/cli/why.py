"""`buildfarm why`: what became of a push."""

from __future__ import annotations

import click

from buildfarm.cli.client import from_environment
from buildfarm.cli.output import Columns, json_option, plain, print_json, print_part


@click.command()
@click.argument("source")
@click.argument("ref_or_commit")
@json_option
def why(source: str, ref_or_commit: str, *, as_json: bool) -> None:
    """Say what became of REF_OR_COMMIT of SOURCE: delivery, verdict, build, sweep; and the next step.

    A full ref, a short name such as main or v1.0, a commit of at least 7 digits, or a pull request as '#17'.
    """
    found = from_environment().get("sources", source, "why", of=ref_or_commit)
    if as_json:
        print_json(found)
        return
    columns: Columns = {
        "ok": lambda row: "ok" if row["good"] else "no",
        "looked at": "name",
        "found": "sentence",
    }
    print_part("Looked at", found["clues"], columns)
    click.echo("\n" + plain(f"{found['sentence']} {found['remedy']}"))
