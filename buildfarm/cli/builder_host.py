"""A builder on a host of its own: joins the farm by its token, then runs one process for each slot."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from buildfarm import log
from buildfarm.cli.client import Client
from buildfarm.cli.first_start import make_folder, write_private
from buildfarm.cli.supervise import Child, Supervisor
from buildfarm.cli.up import environment, lock_folder, own_id, report
from buildfarm.errors import EnvironmentProblem, InvalidInput
from buildfarm.farm.wire import queues_of_slot

_START_S = 30.0
_STOP_S = 3.0
_HINT = "`buildfarm builder add NAME --tier dev` prints a token."


@dataclass(frozen=True)
class Host:
    """What the command was given: the farm's address, a builder's token, the folder, slots, an authority.

    `emulates` are the machines besides this one whose platforms it builds for.
    """

    farm_url: str
    token: str
    data: Path
    slots: int
    ca_file: Path | None
    emulates: tuple[str, ...]


def run(host: Host, *, as_json: bool) -> int:
    """Join, start, and keep running until SIGTERM or SIGINT; the exit code.

    Raises:
        FarmError: the farm does not answer, or not to this token (`builder.token`, `queue.closed`).
        EnvironmentProblem: `data.not_writable`, `data.in_use`, `child.not_ready`.
    """
    log.configure("builder-host")
    if host.ca_file:
        os.environ["REQUESTS_CA_BUNDLE"] = str(host.ca_file.absolute())
    body = {"machine": os.uname().machine, "emulates": list(host.emulates)}
    joined = Client(host.farm_url, host.token).post("builders", "join", body=body)
    make_folder(host.data)
    with (host.data / "run" / "lock").open("w") as lock:
        lock_folder(lock.fileno(), host.data)
        children = [_child(host, joined, slot) for slot in range(host.slots)]
        supervisor = Supervisor(children, on_event=report, status_path=host.data / "run" / "status.json")
        supervisor.start(_START_S)
        facts = {"name": joined["name"], "farm": host.farm_url, "slots": host.slots, "pid": os.getpid()}
        if as_json:
            click.echo(json.dumps(facts))
        else:
            click.echo(f"{joined['name']} builds for {host.farm_url}, {host.slots} at a time.")
        return supervisor.run()


def token_of(token: str | None, path: Path | None) -> str:
    """The builder's token as the command was given it: a file goes before the variable of other commands.

    Raises:
        EnvironmentProblem: `builder.token_file`, it cannot be read.
        InvalidInput: `builder.token_file`, it is empty; `builder.no_token`, there is none.
    """
    if path is None:
        if not token:
            raise InvalidInput("Which builder? Its token is missing.", code="builder.no_token", hint=_HINT)
        return token
    try:
        read = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as err:
        raise EnvironmentProblem(f"The token file {path} cannot be read.", code="builder.token_file") from err
    if not read:
        raise InvalidInput(
            f"The token file {path} is empty.",
            code="builder.token_file",
            hint=_HINT,
        )
    return read


def _child(host: Host, joined: dict[str, Any], slot: int) -> Child:
    data = host.data.absolute()
    path = data / "run" / f"builder-{slot}.json"
    trust = f"?ssl_ca_certs={host.ca_file.absolute()}" if host.ca_file else ""
    facts = {
        "farm_url": host.farm_url,
        "token": host.token,
        "redis": joined["redis"] + trust,
        "redis_user": joined["redis_user"],
        "docker_host": os.environ.get("DOCKER_HOST"),
        "workdir": str(data / "builder" / str(slot)),
        "instance": f"{own_id(data / 'run')}-{slot}",
        "queues": queues_of_slot(joined["prefixes"], slot, host.slots),
        "slots": host.slots,
        "emulates": host.emulates,
    }
    write_private(path, json.dumps(facts))
    return Child(
        name=f"builder-{slot}",
        argv=[sys.executable, "-m", "workers.builder"],
        env=environment(BUILDER_CONFIG=str(path)),
        cwd=data,
        log_path=data / "logs" / f"builder-{slot}.log",
        stop_grace_s=_STOP_S,
    )
