"""The options that give a source its credential: files, so that no secret stands on a command line."""

from __future__ import annotations

from collections.abc import Callable
from typing import IO, Any

import click


def credential_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options to a command; `credential_body` takes what they give."""
    options = [
        click.option("--username", default="", help="User name for an https repository."),
        click.option("--password-file", type=click.File(), help="Its password, or access token."),
        click.option("--ssh-key-file", type=click.File(), help="Private key for an ssh repository."),
        click.option("--known-hosts-file", type=click.File(), help="The ssh host keys that are believed."),
        click.option("--ca-file", type=click.File(), help="Authorities of the host's TLS certificate, PEM."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def credential_body(
    *,
    username: str,
    password_file: IO[str] | None,
    ssh_key_file: IO[str] | None,
    known_hosts_file: IO[str] | None,
    ca_file: IO[str] | None,
) -> dict[str, str]:
    """What is sent; empty when nothing was given. A password is a file's first line."""
    given = {
        "username": username,
        "password": password_file.readline().rstrip("\r\n") if password_file else "",
        "ssh_key": ssh_key_file.read() if ssh_key_file else "",
        "known_hosts": known_hosts_file.read() if known_hosts_file else "",
        "ca": ca_file.read() if ca_file else "",
    }
    return {name: value for name, value in given.items() if value}
