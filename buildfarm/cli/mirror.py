"""`buildfarm mirror`: the upstream indexes, and what of them is shown here."""

from __future__ import annotations

import click

from buildfarm.cli.mirrored import evict, list_command, refresh, show, upstreams
from buildfarm.cli.policy import advisories, lift, policy
from buildfarm.cli.prefetch import prefetch


@click.group()
def mirror() -> None:
    """The upstream indexes, and what of them is shown here."""


for _part in (list_command, show, refresh, evict, upstreams, policy, lift, advisories, prefetch):
    mirror.add_command(_part)
