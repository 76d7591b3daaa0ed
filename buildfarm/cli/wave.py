"""`buildfarm wave`: releases built again because of one change, and promoted as one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import click

from buildfarm.cli.client import from_environment
from buildfarm.cli.output import (
    Columns,
    json_option,
    limit_option,
    plain,
    print_facts,
    print_json,
    print_part,
    print_rows,
)

_FACTS: Columns = {
    "wave": "id",
    "because of": lambda row: f"{row['trigger']} {row['subject']}",
    "state": "state",
    "releases": lambda row: _counted(row),
    "index": lambda row: f"/{row['id']}/simple/",
    "for": "channel",
    "by": "actor",
    "opened": "created_at",
    "ended": "ended_at",
}
_PLANNED: Columns = {
    "level": "level",
    "release": lambda row: f"{row['project']} {row['version']}",
    "minutes": lambda row: _minutes(row["seconds"]),
    "why": "why",
}
_OFFERED: Columns = {
    "because of": lambda row: f"{row['trigger']} {row['subject']}",
    "releases": "projects",
    "why": "why",
    "see": lambda row: _preview(row),
}
_MEMBERS: Columns = {
    "level": "level",
    "release": lambda row: f"{row['project']} {row['version']}",
    "state": "state",
    "build": "rebuild_id",
    "why": lambda row: row["reason"] or row["why"],
}


@click.group()
def wave() -> None:
    """Releases built again because of one change, and promoted as one."""


def _trigger_options(command: Callable[..., None]) -> Callable[..., None]:
    """`--image`, `--python`, `--project` and `--channel`."""
    for option in (
        click.option("--channel", default="dev", show_default=True, help="Whose newest releases."),
        click.option("--project", help="A new version of a library: NAME or NAME==VERSION."),
        click.option("--python", help="A new interpreter: cp314."),
        click.option("--image", help="A new builder image: its suite."),
    ):
        command = option(command)
    return command


@wave.command()
@_trigger_options
@json_option
def preview(*, as_json: bool, **chosen: str | None) -> None:
    """What a wave would build, in which order, why and how long; nothing is started."""
    found = from_environment().post("waves", "preview", body=_asked(chosen))
    if as_json:
        print_json(found)
        return
    print_facts(
        found,
        {
            "because of": lambda row: f"{row['trigger']} {row['subject']}",
            "releases": lambda row: len(row["members"]),
            "work": lambda row: f"{_minutes(row['seconds'])} min",
            "takes": lambda row: f"{_minutes(row['expected_seconds'])} min on {max(1, row['slots'])} slots",
            "need each other": lambda row: "; ".join(", ".join(one) for one in row["cycles"]),
        },
        as_json=False,
    )
    print_part("Built again, by level", found["members"], _PLANNED)
    print_part("Left out", found["left_out"], {"project": "project", "why": "why"})


@wave.command()
@click.option("--channel", default="dev", show_default=True, help="Whose newest releases.")
@json_option
def offers(*, channel: str, as_json: bool) -> None:
    """What a wave would be good for now; `preview` one, then `open` it."""
    print_rows(from_environment().get("waves", "offers", channel=channel), _OFFERED, as_json=as_json)


def print_offers() -> None:
    """To standard error: the waves for images and interpreters that are offered."""
    for row in from_environment().get("waves", "offers")["items"]:
        if row["trigger"] != "project":
            click.echo(f"{row['projects']} of {row['channel']} {row['why']}: {_preview(row)}", err=True)


@wave.command(name="open")
@_trigger_options
@json_option
def open_command(*, as_json: bool, **chosen: str | None) -> None:
    """Start a wave; see `preview` first."""
    _print(from_environment().post("waves", body=_asked(chosen)), as_json=as_json)


@wave.command(name="list")
@click.option("--before", help="Go on after this id.")
@limit_option
@json_option
def list_command(*, before: str | None, limit: int, as_json: bool) -> None:
    """Waves, the newest first."""
    columns = {
        name: _FACTS[name] for name in ("wave", "because of", "state", "releases", "for", "by", "opened")
    }
    print_rows(from_environment().get("waves", before=before, limit=limit), columns, as_json=as_json)


@wave.command()
@click.argument("wave_id")
@json_option
def show(wave_id: str, *, as_json: bool) -> None:
    """One wave, release by release."""
    _print(from_environment().get("waves", wave_id), as_json=as_json)


@wave.command()
@click.argument("wave_id")
@json_option
def cancel(wave_id: str, *, as_json: bool) -> None:
    """End a wave: what waits is not built, and nothing of it enters its channel."""
    _print(from_environment().post("waves", wave_id, "cancel"), as_json=as_json)


@wave.command()
@click.argument("wave_id")
@click.option("--partial", is_flag=True, help="Leave behind what failed.")
@json_option
def promote(wave_id: str, *, partial: bool, as_json: bool) -> None:
    """Move all new files of a wave into its channel at once."""
    _print(from_environment().post("waves", wave_id, "promote", body={"partial": partial}), as_json=as_json)


@wave.command()
@click.argument("wave_id")
@json_option
def undo(wave_id: str, *, as_json: bool) -> None:
    """Take all files of a promoted wave out of its channel again."""
    _print(from_environment().post("waves", wave_id, "undo"), as_json=as_json)


def _asked(chosen: Mapping[str, str | None]) -> dict[str, Any]:
    given = [(name, chosen[name]) for name in ("image", "python", "project") if chosen[name]]
    if len(given) != 1:
        raise click.UsageError("Say one of --image, --python and --project.")
    ((trigger, subject),) = given
    return {"trigger": trigger, "subject": subject, "channel": chosen["channel"]}


def _print(row: Mapping[str, Any], *, as_json: bool) -> None:
    print_facts(row, _FACTS, as_json=as_json)
    if not as_json:
        print_part("Releases, by level", row["members"], _MEMBERS)


def _counted(row: Mapping[str, Any]) -> str:
    states = Counter(one["state"] for one in row["members"])
    return plain([f"{count} {state}" for state, count in sorted(states.items())])


def _preview(row: Mapping[str, Any]) -> str:
    return f"buildfarm wave preview --{row['trigger']} {row['subject']}"


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.1f}"
