"""`buildfarm mirror prefetch`: have the mirror hold what a lock file needs, before it is missed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import IO, Any

import click

from buildfarm.cli.client import Client, from_environment
from buildfarm.cli.output import Columns, json_option, plain, print_json, print_part
from buildfarm.errors import FarmError

_AT_ONCE = 4
#: How something that will be missing is shown.
MISSED: Columns = {"project": "project", "file": "filename", "rule": "rule", "why": "sentence"}


@click.command()
@click.argument("channel")
@click.argument("file", type=click.File(encoding="utf-8"))
@json_option
def prefetch(channel: str, file: IO[str], *, as_json: bool) -> None:
    """Fetch what FILE needs into the mirror behind CHANNEL.

    FILE is a requirements.txt, a uv.lock or a pylock.toml. Each file is fetched by way of the channel, so
    its policy holds. Exit code 1 when something will be missing; a second run goes on where the first
    one ended.
    """
    farm = from_environment()
    plan = farm.post("channels", channel, "prefetch", body={"text": file.read()})
    failed = fetch(farm, channel, plan["files"], quiet=as_json)
    answer = plan | {"failed": failed}
    if as_json:
        print_json(answer)
    else:
        click.echo(f"{len(plan['files']) - len(failed)} files are here.")
        print_part("Missing", plan["missed"] + failed, MISSED)
    raise SystemExit(1 if plan["missed"] or failed else 0)


def fetch(farm: Client, channel: str, files: list[dict[str, Any]], *, quiet: bool) -> list[dict[str, Any]]:
    """Ask a channel for each file of a plan, and for its provenance; the files that it did not give."""
    failed = []
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        waiting = {pool.submit(_ask, farm, f"/{channel}/{one['url']}", one): one for one in files}
        for number, done in enumerate(as_completed(waiting), 1):
            one = waiting[done]
            try:
                done.result()
            except FarmError as err:
                failed.append(
                    {key: one[key] for key in ("project", "filename")}
                    | {"rule": err.code, "sentence": err.message}
                )
            if not quiet:
                click.echo(f"{number}/{len(files)} {plain(one['filename'])}", err=True)
    return failed


def _ask(farm: Client, url: str, file: dict[str, Any]) -> None:
    farm.pass_over(url)
    if file["has_provenance"]:
        farm.pass_over(f"{url}.provenance")
