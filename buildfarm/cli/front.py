"""`buildfarm front`: servers before the farm."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import click

from buildfarm import config
from buildfarm.cli.output import json_option, print_facts
from buildfarm.errors import EnvironmentProblem, InvalidInput
from buildfarm.index import appliance


@click.group()
def front() -> None:
    """Servers before the farm: nginx that reads the index's pages itself."""


@front.command()
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Folder for the configuration, and for nginx's logs.",
)
@click.option(
    "--listen",
    multiple=True,
    metavar="[ADDRESS:]PORT",
    help="Where nginx listens, more than once if need be; without it the port of public_url.",
)
@click.option(
    "--certificate",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="Certificate with its chain (PEM): nginx speaks TLS 1.2 and newer, and HTTP/2.",
)
@click.option("--key", type=click.Path(path_type=Path, dir_okay=False, exists=True), help="Its key (PEM).")
@json_option
def nginx(
    out: Path, listen: tuple[str, ...], certificate: Path | None, key: Path | None, *, as_json: bool
) -> None:
    """Write the configuration of an nginx before the farm of this machine.

    The farm is the one of BUILDFARM_DATA or BUILDFARM_CONFIG. Start it with `nginx -c OUT/nginx.conf`; after
    writing it anew `nginx -c OUT/nginx.conf -s reload` takes it up, and no verdict is forgotten.
    """
    if (certificate is None) != (key is None):
        raise InvalidInput("A certificate and its key go together.", code="front.tls")
    settings = config.load()
    place = appliance.Place(out.absolute(), listen or (_port(settings.public_url),), certificate, key)
    texts = appliance.files(settings, place)
    try:
        (out / "temp").mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (out / name).write_text(text)
    except OSError as err:
        raise EnvironmentProblem(
            f"{out} cannot be written: {err.strerror}.", code="front.not_writable"
        ) from err
    facts = {"configuration": str(place.out / "nginx.conf"), "listen": list(place.listen)}
    print_facts(facts, {name: name for name in facts}, as_json=as_json)


def _port(public_url: str) -> str:
    parts = urlsplit(public_url)
    return str(parts.port or (443 if parts.scheme == "https" else 80))
