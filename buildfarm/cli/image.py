"""`buildfarm image`: container images that builds use."""

from __future__ import annotations

import os

import click

from buildfarm.cli.archives import send_wanted
from buildfarm.cli.client import from_environment
from buildfarm.cli.output import Columns, json_option, print_rows
from buildfarm.cli.wave import print_offers
from buildfarm.errors import EnvironmentProblem
from buildfarm.sandbox.images import newest_images

_COLUMNS: Columns = {
    "platform": "platform",
    "role": "role",
    "suite": "suite",
    "interpreters": "interpreters",
    "toolchain": lambda row: row["toolchain"] or "",
    "builders": "builders",
    "image": lambda row: row["image_id"].removeprefix("sha256:")[:12],
    "for other hosts": "archive",
}


@click.group()
def image() -> None:
    """Container images that builds use."""


@image.command(name="list")
@json_option
def list_command(*, as_json: bool) -> None:
    """The images in use, by platform."""
    print_rows(from_environment().get("images"), _COLUMNS, as_json=as_json)


@image.command()
@json_option
def add(*, as_json: bool) -> None:
    """Use this engine's images from now on: the newest of each platform, role and interpreters.

    They take the place of those of the same kind of platform, such as manylinux-x86_64; other kinds stay.
    Where builders of other hosts may join, the farm is sent those that it does not have, for them to fetch.
    What was built in images that these replace can be built again: the rebuild waves for it are named.
    """
    farm, docker_host = from_environment(), os.environ.get("DOCKER_HOST")
    fields = ("image_id", "platform", "role", "suite", "interpreters", "toolchain", "machine")
    found = [found.model_dump(include=set(fields)) for found in newest_images(docker_host)]
    if not found:
        raise EnvironmentProblem(
            "The engine holds no images for builds.",
            code="image.none",
            hint="docker/build-images.sh makes them.",
        )
    farm.put("images", body={"images": found})
    send_wanted(farm, docker_host, say=lambda line: click.echo(line, err=True))
    print_rows(farm.get("images"), _COLUMNS, as_json=as_json)
    if not as_json:
        print_offers()


@image.command()
@click.argument("image_id")
@json_option
def remove(image_id: str, *, as_json: bool) -> None:
    """Have no new build use an image; engines keep it."""
    print_rows(from_environment().delete("images", image_id), _COLUMNS, as_json=as_json)
