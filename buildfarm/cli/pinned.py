"""Whom a verifying command believes: the pinned root of the farm that was named; what it remembers."""

from __future__ import annotations

import os
from pathlib import Path

import click

from buildfarm.errors import EnvironmentProblem
from buildfarm.trust import pin
from buildfarm.trust.memory import CheckpointMemory
from buildfarm.trust.remote import RemoteIndex


def index(channel_url: str | None) -> RemoteIndex | None:
    """The index to ask: the channel that was named, else `dev` of BUILDFARM_URL."""
    token = os.environ.get("BUILDFARM_TOKEN")
    if channel_url:
        return RemoteIndex.of_channel(channel_url, token)
    if farm := os.environ.get("BUILDFARM_URL"):
        return RemoteIndex(farm, token=token)
    return None


def trusted_root(given: Path | None, farm: RemoteIndex | None, *, offline: bool) -> pin.Pinned:
    """The root to believe; at the first use of a farm its root is pinned, and its digest shown.

    Raises:
        EnvironmentProblem: `root.none`, neither root nor farm is known, or see `pin.pinned`.
        IntegrityFailure: `root.changed`.
        InvalidInput: it cannot be read.
    """
    if given is not None:
        return pin.given(given)
    if farm is None:
        raise EnvironmentProblem(
            "It is not known which farm to believe.",
            code="root.none",
            hint="Set BUILDFARM_URL, or give the farm's channel with --index, or its root with --root.",
        )
    path = pin.path_for(farm.farm_url, _xdg("XDG_CONFIG_HOME", ".config"))
    trusted = pin.pinned(path, None if offline else farm.trusted_root)
    if trusted.first_use:
        click.echo(
            f"First use of {farm.farm_url}: its trusted root is pinned now in {trusted.path}.\n"
            "Compare this with what your administrator tells you (its sha256):\n"
            f"  {trusted.sha256}",
            err=True,
        )
    return trusted


def memory() -> CheckpointMemory:
    """The checkpoints that this user saw."""
    return CheckpointMemory(_xdg("XDG_STATE_HOME", ".local/state") / "buildfarm" / "checkpoints.json")


def _xdg(variable: str, default: str) -> Path:
    return Path(os.environ.get(variable) or Path.home() / default)
