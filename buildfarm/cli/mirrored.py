"""`buildfarm mirror list|show|refresh|evict`: what is mirrored, and how the upstreams answer."""

from __future__ import annotations

import click

from buildfarm.cli.client import from_environment
from buildfarm.cli.output import Columns, findings_of, json_option, judged_by, print_facts, print_rows

_PROJECTS: Columns = {
    "project": "name",
    "upstream": "upstream",
    "checked": "checked_at",
    "files here": "files",
    "bytes": "bytes",
    "last used": "last_used_at",
}
_FACTS: Columns = {
    **_PROJECTS,
    "changed": "changed_at",
    "refused": lambda row: [f"{one['filename']}: {one['refused']}" for one in row["held"] if one["refused"]],
    "findings": lambda row: [
        f"{one['filename']}: {findings_of(one)}" for one in row["held"] if one["findings"]
    ],
    "judged": lambda row: sorted({judged_by(one) for one in row["held"]}),
    "not let through": lambda row: [
        f"{one['channel']} {one['rule']} x{one['count']}: {one['sentence']}" for one in row["events"]
    ],
}
_HEALTH: Columns = {
    "upstream": "upstream",
    "well": "is_well",
    "pages": "pages",
    "files": "files",
    "failures": "failures",
    "last failure": "failure",
}


@click.command(name="list")
@json_option
def list_command(*, as_json: bool) -> None:
    """Projects that upstream was asked for."""
    print_rows(from_environment().get("mirror", "projects"), _PROJECTS, as_json=as_json)


@click.command()
@json_option
def upstreams(*, as_json: bool) -> None:
    """How each upstream index, and each host of its files, answers."""
    print_rows(from_environment().get("mirror", "upstreams"), _HEALTH, as_json=as_json)


@click.command()
@click.argument("name")
@json_option
def show(name: str, *, as_json: bool) -> None:
    """One project: what is here of it, what was refused, what was not let through."""
    print_facts(from_environment().get("mirror", "projects", name), _FACTS, as_json=as_json)


@click.command()
@click.argument("name")
@json_option
def refresh(name: str, *, as_json: bool) -> None:
    """Ask upstream for a project now, however fresh its page is."""
    print_facts(from_environment().post("mirror", "projects", name, "refresh"), _FACTS, as_json=as_json)


@click.command()
@click.argument("name")
@json_option
def evict(name: str, *, as_json: bool) -> None:
    """Let go of the kept files of a project; what was refused is tried again."""
    print_facts(from_environment().post("mirror", "projects", name, "evict"), _FACTS, as_json=as_json)
