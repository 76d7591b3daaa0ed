"""The command `buildfarm`: one file for each noun, loaded when it is asked for, errors as sentences."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

import click

from buildfarm.errors import EnvironmentProblem, ExternalFailure, FarmError, InvalidInput, Unauthenticated

#: Noun -> what `--help` says of it. Its module and command have the noun's name.
NOUNS = {
    "up": "Run a whole farm on this machine.",
    "doctor": "Check whether this machine can run a farm.",
    "source": "Repositories the farm listens to.",
    "connection": "Organisations and groups whose repositories the farm listens to.",
    "delivery": "Webhook calls, and what became of them.",
    "why": "What became of a push, and why nothing was built.",
    "build": "Start, follow and cancel builds.",
    "job": "One target of a build, and its log.",
    "recipe": "Check recipes and explain their values.",
    "project": "Names that are ours.",
    "release": "Show, promote, yank and withdraw releases.",
    "channel": "The ladder that releases climb, mirrors and unions.",
    "mirror": "The upstream indexes, and what of them is shown here.",
    "namespace": "Prefixes of names that are reserved.",
    "promotion": "Releases that climbed, and taking them down.",
    "wave": "Releases built again because of one change, and promoted as one.",
    "verify": "Check a file's provenance.",
    "key": "The keys behind statements.",
    "token": "Credentials for programs.",
    "user": "Local people.",
    "builder": "Hosts that run builds.",
    "queue": "What waits, and whether it is handed to builders.",
    "image": "Container images that builds use.",
    "front": "Servers before the farm.",
    "journal": "Everything that changed what clients see.",
}

_USAGE = (InvalidInput, Unauthenticated, EnvironmentProblem, ExternalFailure)


class _Nouns(click.Group):
    """A group whose commands are imported one at a time, so that `--help` is quick."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(NOUNS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in NOUNS:
            return None
        command: click.Command = getattr(importlib.import_module(f"buildfarm.cli.{cmd_name}"), cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(NOUNS.items()))


def _print_version(ctx: click.Context, _option: click.Parameter, wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        click.echo(f"buildfarm {version('buildfarm')}")
        ctx.exit()


@click.group(cls=_Nouns, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version)
def cli() -> None:
    """A build farm with its own trusted package index.

    Commands that talk to a farm take its address from BUILDFARM_URL and a token from BUILDFARM_TOKEN.
    """


def exit_code(error: FarmError) -> int:
    """1 when what was asked is not so, 2 when it was asked wrongly or cannot be asked from here."""
    return 2 if isinstance(error, _USAGE) or (error.status >= 500) else 1


def main() -> NoReturn:
    """Run the command; whatever goes wrong is one sentence on standard error and an exit code."""
    try:
        code = cli.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        code = 2
    except FarmError as error:
        click.echo(f"buildfarm: {error.message} [{error.code}]", err=True)
        if error.hint:
            click.echo(f"  {error.hint}", err=True)
        code = exit_code(error)
    except (click.Abort, KeyboardInterrupt):
        click.echo("Stopped.", err=True)
        code = 2
    except BrokenPipeError:
        # The reader went away (`| head`): nothing is left to say, and nobody to say it to.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except Exception as error:  # noqa: BLE001 - a person gets a sentence, the details go to a file
        click.echo(f"buildfarm: this is a bug: {type(error).__name__}: {error}", err=True)
        click.echo(f"  Details are in {_note_bug()}.", err=True)
        code = 2
    sys.exit(code if isinstance(code, int) else 0)


def _note_bug() -> Path:
    """Write the traceback at hand below XDG_STATE_HOME; returns where."""
    root = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "buildfarm"
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = root / "errors.log"
    with path.open("a") as file:
        file.write(f"{datetime.now(UTC).isoformat()} {sys.argv[1:2]}\n{traceback.format_exc()}\n")
    return path
