"""`buildfarm mirror policy`, `lift` and `advisories`: what guards the mirrors."""

from __future__ import annotations

from pathlib import Path

import click

from buildfarm.cli.client import from_environment
from buildfarm.cli.output import json_option, print_facts, print_json, print_part, print_rows, release_of
from buildfarm.errors import InvalidInput
from buildfarm.mirror.policy import RULES

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_LIFT = {
    "id": "id",
    "channel": "channel",
    "project": "project",
    "version": "version",
    "rule": "rule",
    "until": "until",
    "ended": "ended_at",
    "by": "actor",
    "reason": "reason",
}
_ADVISORIES = {"advisories": "advisories", "newest": "newest"}


@click.group()
def policy() -> None:
    """What a mirror channel shows of its upstream."""


@policy.command(name="show")
@click.argument("channel")
@json_option
def show_command(channel: str, *, as_json: bool) -> None:
    """The policy in force."""
    answer = from_environment().get("channels", channel, "policy")
    if as_json:
        print_json(answer)
    elif not answer["policy"]:
        click.echo("The empty policy: everything is shown but malware.")
    else:
        print_facts(answer["policy"], {key: key for key in answer["policy"]}, as_json=False)


@policy.command(name="set")
@click.argument("channel")
@click.argument("file", type=_FILE)
@json_option
def set_command(channel: str, file: Path, *, as_json: bool) -> None:
    """Put the policy in FILE (TOML) in force for CHANNEL."""
    answer = from_environment().put("channels", channel, "policy", body={"toml": _text(file)})
    if as_json:
        print_json(answer)
    else:
        click.echo(f"The policy of {channel} is in force.")


@policy.command(name="check")
@click.argument("channel")
@click.argument("file", type=_FILE)
@json_option
def check_command(channel: str, file: Path, *, as_json: bool) -> None:
    """Dry run: what the policy in FILE would change of what the mirror knows today.

    Exit code 1 when it would hide a file that is shown now.
    """
    answer = from_environment().post("channels", channel, "policy", "check", body={"toml": _text(file)})
    if as_json:
        print_json(answer)
    else:
        counts = {"files": "files", "shown now": "shown_now", "shown then": "shown_then"}
        print_facts(answer, counts, as_json=False)
        columns = {"file": "filename", "rule": "rule", "why": "sentence"}
        print_part("Hidden then", answer["hidden"], columns)
        print_part("Shown then", answer["opened"], columns)
    raise SystemExit(1 if answer["hidden"] else 0)


@click.group()
def lift() -> None:
    """Break glass: let a version through in spite of a rule."""


@lift.command(name="add")
@click.argument("channel")
@click.argument("release", metavar="NAME==VERSION")
@click.option("--rule", required=True, type=click.Choice(RULES), help="The rule that refuses it.")
@click.option("--reason", required=True, help="Why; it stands in the journal.")
@click.option(
    "--days", type=click.FloatRange(0, 3650, min_open=True), help="For so long; else until it is ended."
)
@json_option
def add_command(
    channel: str, release: str, rule: str, reason: str, days: float | None, *, as_json: bool
) -> None:
    """Let NAME==VERSION through a rule of CHANNEL."""
    project, version = release_of(release)
    answer = from_environment().post(
        "lifts",
        body={
            "channel": channel, "project": project, "version": version, "rule": rule, "reason": reason,
            "days": days,
        },
    )  # fmt: skip
    print_facts(answer, _LIFT, as_json=as_json)


@lift.command(name="list")
@json_option
def list_command(*, as_json: bool) -> None:
    """Every lift, the newest first."""
    print_rows(from_environment().get("lifts"), _LIFT, as_json=as_json)


@lift.command(name="end")
@click.argument("lift_id", metavar="ID")
@json_option
def end_command(lift_id: str, *, as_json: bool) -> None:
    """Let the rule hold again."""
    print_facts(from_environment().delete("lifts", lift_id), _LIFT, as_json=as_json)


@click.group(name="advisories")
def advisories() -> None:
    """Known vulnerabilities and malware (OSV)."""


@advisories.command(name="import")
@click.argument("archive", type=_FILE)
@json_option
def import_command(archive: Path, *, as_json: bool) -> None:
    """Replace what is known by ARCHIVE, the file PyPI/all.zip of the OSV database."""
    print_facts(from_environment().send_file("advisories", file=archive), _ADVISORIES, as_json=as_json)


@advisories.command(name="show")
@json_option
def state_command(*, as_json: bool) -> None:
    """How many are known, and how new they are."""
    print_facts(from_environment().get("advisories"), _ADVISORIES, as_json=as_json)


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except UnicodeDecodeError as err:
        raise InvalidInput(f"{file} is no text.", code="policy.syntax") from err
