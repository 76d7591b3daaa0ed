"""Our own server under the benchmark: a whole farm by `buildfarm up`, without builders."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.index.process import Server, free_port, get_status, running, tree, wait_for
from buildfarm import bootstrap
from buildfarm.bootstrap import Farm
from buildfarm.cli.first_start import make_folder, prepare
from buildfarm.config import Settings
from buildfarm.index.follow import PageFollower
from buildfarm.index.pagetree import PageTree

BUILDFARM = Path(__file__).resolve().parents[2] / ".venv" / "bin" / "buildfarm"
#: The processes that a read passes through; whatever else runs in a farm has no part in it.
_READERS = ("front", "web")


@dataclass
class Ours:
    """A running farm. `reads` counts the processes that answer reads, `writes` the whole farm."""

    data: Path
    reads: Server
    writes: Server
    token: str

    def child(self, name: str) -> int | None:
        """The process id of one of the farm's children."""
        status = json.loads((self.data / "run" / "status.json").read_text())
        return next((one["pid"] for one in status["children"] if one["name"] == name), None)


@contextmanager
def farm(
    data: Path, *, seed: Callable[[Farm], None] | None = None, upstreams: Sequence[str] = ()
) -> Iterator[Ours]:
    """A farm in a folder of its own, filled by `seed` before it starts, with all its pages rendered."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    if seed:
        make_folder(data)
        closed = bootstrap.farm(Settings(data=data, public_url=url))
        prepare(closed, None)
        seed(closed)
        PageFollower(
            closed.database, closed.blobs, PageTree(closed.settings.pages_dir), closed.settings
        ).catch_up()
        closed.database.close()
    ready = data.with_name(f"{data.name}.ready.json")
    command = [BUILDFARM, "up", "--data", data, "--port", str(port), "--builders", "0", "--ready-file", ready]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("BUILDFARM_")}
    environment["BUILDFARM_MIRROR__UPSTREAMS"] = json.dumps(list(upstreams))
    log = data.with_name(f"{data.name}.log")
    with running(command, log=log, answers=f"{url}/healthz", env=environment, deadline_s=300) as process:
        wait_for(
            lambda: ready.exists() or process.poll() is not None,
            what=f"the farm in {data} is not ready",
            deadline_s=300,
        )
        if not ready.exists():
            raise SystemExit(f"bench: the farm did not start:\n{log.read_text()[-3000:]}")
        facts = json.loads(ready.read_text())
        basic = base64.b64encode(f"__token__:{facts['admin_token']}".encode()).decode()
        headers = {"Authorization": f"Basic {basic}"}

        def readers() -> set[int]:
            pids = [pid for name in _READERS if (pid := ours.child(name))]
            return set().union(*(tree(pid) for pid in pids))

        described = "buildfarm up --builders 0"
        ours = Ours(
            data,
            Server("buildfarm", url, f"{described}; {' and '.join(_READERS)} counted", readers, headers),
            Server("buildfarm", url, f"{described}; all counted", lambda: tree(process.pid), headers),
            facts["admin_token"],
        )
        wait_for(
            lambda: get_status(f"{url}/readyz", headers) == 200,
            what="the farm's pages are behind its journal",
            deadline_s=3600,
        )
        yield ours
