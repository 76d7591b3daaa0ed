"""`buildfarm mirror`: the upstream indexes, and what of them is shown here."""

from __future__ import annotations

import click

from buildfarm.cli.build import finish, print_build
from buildfarm.cli.bundle import export_command, import_command
from buildfarm.cli.client import from_environment
from buildfarm.cli.mirrored import evict, list_command, refresh, show, upstreams
from buildfarm.cli.output import json_option, release_of
from buildfarm.cli.policy import advisories, lift, policy
from buildfarm.cli.prefetch import prefetch
from buildfarm.cli.wheel_rule import rule


@click.group()
def mirror() -> None:
    """The upstream indexes, and what of them is shown here."""


@mirror.command()
@click.argument("channel")
@click.argument("release", metavar="NAME==VERSION")
@click.option("--wait", is_flag=True, help="Wait for the end; exit code 1 unless it is published.")
@json_option
def build(channel: str, release: str, *, wait: bool, as_json: bool) -> None:
    """Have wheels built of what upstream has only as source; they join upstream's files in CHANNEL."""
    farm = from_environment()
    project, version = release_of(release)
    made = farm.post("channels", channel, "supplements", body={"project": project, "version": version})
    if wait:
        finish(farm, made["build_id"], as_json=as_json)
    else:
        print_build(farm.get("builds", made["build_id"]), as_json=as_json)


for _part in (
    list_command, show, refresh, evict, upstreams, policy, lift, advisories, prefetch, export_command,
    import_command, rule,
):  # fmt: skip
    mirror.add_command(_part)
