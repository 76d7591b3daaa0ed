"""Our own server under the benchmark: a whole farm by `buildfarm up`, without builders."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.index.process import Server, free_port, running, tree, wait_for
from buildfarm import bootstrap
from buildfarm.bootstrap import Farm
from buildfarm.cli.first_start import make_folder, prepare
from buildfarm.config import Settings
from buildfarm.index.follow import PageFollower
from buildfarm.index.pagetree import PageTree

BUILDFARM = Path(__file__).resolve().parents[2] / ".venv" / "bin" / "buildfarm"


@dataclass
class Ours:
    """A running farm. `reads` counts the processes that answer reads, `front` the one of them that
    sends pages, `writes` the whole farm."""

    data: Path
    reads: Server
    front: Server
    writes: Server
    #: Processor seconds of what answers reads, until the first page was sent.
    first_answer_cpu_s: float


@contextmanager
def farm(
    data: Path, *, seed: Callable[[Farm], None] | None = None, settings: Mapping[str, object] | None = None
) -> Iterator[Ours]:
    """A farm in a folder of its own; `seed` makes it and fills it first, with all its pages rendered.

    `settings` are given by their dotted names.
    """
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    if seed:
        _make(data, url, seed)
    secrets = json.loads((data / "run" / "secrets.json").read_text())
    basic = base64.b64encode(f"__token__:{secrets['admin_token']}".encode()).decode()
    headers = {"Authorization": f"Basic {basic}"}
    ready = data.with_name(f"{data.name}.ready.json")
    command = [BUILDFARM, "up", "--data", data, "--port", str(port), "--builders", "0", "--ready-file", ready]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("BUILDFARM_")}
    for name, value in (settings or {}).items():
        environment[f"BUILDFARM_{name.upper().replace('.', '__')}"] = json.dumps(value)
    first = f"{url}/dev/simple/"
    log = data.with_name(f"{data.name}.log")
    with running(command, log=log, answers=first, headers=headers, env=environment) as process:

        def children(*names: str) -> set[int]:
            listed = json.loads((data / "run" / "status.json").read_text())["children"]
            return set().union(*(tree(one["pid"]) for one in listed if one["name"] in names and one["pid"]))

        def server(counted: str, pids: Callable[[], set[int]]) -> Server:
            described = f"buildfarm up --builders 0; {counted} counted"
            return Server("buildfarm", url, described, pids, headers, secrets["admin_token"])

        reads = server("front and web", lambda: children("front", "web"))
        started_s = reads.cpu_s()
        wait_for(ready.exists, what=f"the farm in {data} is not ready ({log})")
        yield Ours(
            data, reads, server("front", lambda: children("front")),
            server("all", lambda: tree(process.pid)), started_s,
        )  # fmt: skip


@contextmanager
def appliance(farm: Ours, folder: Path) -> Iterator[Server]:
    """nginx before a running farm, as the farm configures it; nginx and web are counted."""
    port = free_port()
    environment = {**os.environ, "BUILDFARM_CONFIG": str(farm.data / "run" / "settings.json")}
    listen = f"127.0.0.1:{port}"
    subprocess.run(
        [BUILDFARM, "front", "nginx", "--out", folder, "--listen", listen],
        env=environment, check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    command = ["nginx", "-e", folder / "error.log", "-c", folder / "nginx.conf", "-g", "daemon off;"]
    url, headers = f"http://{listen}", farm.reads.headers
    with running(command, log=folder / "out.log", answers=f"{url}/dev/simple/", headers=headers) as process:
        described = "buildfarm front nginx, before buildfarm up; nginx, front and web counted"
        yield Server(
            "buildfarm behind nginx", url, described,
            lambda: tree(process.pid) | farm.reads.pids(), headers, farm.reads.password,
        )  # fmt: skip


def _make(data: Path, url: str, seed: Callable[[Farm], None]) -> None:
    make_folder(data)
    made = bootstrap.farm(Settings(data=data, public_url=url))
    prepare(made, None)
    seed(made)
    PageFollower(made.database, made.blobs, PageTree(made.settings.pages_dir), made.settings).catch_up()
    made.database.close()
