"""The option of `up` and `builder run` by which a host builds for machines other than its own."""

from __future__ import annotations

import click

emulate_option = click.option(
    "--emulate",
    "emulates",
    multiple=True,
    metavar="MACHINE",
    help="Build for this machine too, such as aarch64, by the emulator that the kernel knows for it.",
)
