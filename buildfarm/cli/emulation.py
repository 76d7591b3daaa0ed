"""The option of `up` and `builder run` by which a host builds for machines other than its own."""

from __future__ import annotations

import os

import click

from buildfarm.farm.machines import native_to


def _foreign(_context: click.Context, _option: click.Parameter, machines: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(one for one in dict.fromkeys(machines) if one not in native_to(os.uname().machine))


emulate_option = click.option(
    "--emulate",
    "emulates",
    multiple=True,
    metavar="MACHINE",
    callback=_foreign,
    help="Build for this machine too, such as aarch64, by the emulator that the kernel knows for it.",
)
