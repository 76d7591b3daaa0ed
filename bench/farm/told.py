"""What telling an SCM of builds costs a push: a source with a token for its API beside one without."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import requests

from bench.farm.pushes import PROJECT, commit_version, prepared, push_figures, repository
from bench.farm.stand import RUNS, Stand
from bench.row import Row
from buildfarm.scm.connect import HookSecrets
from tests.farm.senders import Sender
from tests.scm.forge_server import ForgeServer
from tests.sources.githttp import GitServer
from tests.tour import demo
from tests.tour.stage import farm, git

FIGURES = ("push.first_line", "push.installable")
COMMAND = (
    "git push of a tag and its delivery as GitHub's to a source {} token for the API (bench/farm/told.py)"
)
GOAL = 1.1
#: Between pushes, until containers are started ahead again and nothing waits to be told.
REST_S = 6.0


@dataclass
class _Source:
    """A source that GitHub's deliveries come to, its repository, and the samples of its pushes."""

    name: str
    project: str
    clone: Path
    hook_url: str
    sender: Sender
    samples: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in FIGURES})

    def push(self, version: str) -> None:
        """Push the tag, and deliver it."""
        git(self.clone, "push", "--quiet", "origin", version)
        commit = git(self.clone, "rev-parse", "HEAD").strip()
        body = self.sender.push(ref=f"refs/tags/{version}", commit=commit, before="0" * 40)
        answer = requests.post(self.hook_url, data=body, headers=self.sender.headers(body), timeout=20)
        if answer.status_code != 202:
            raise SystemExit(f"the delivery of {version} was answered {answer.status_code}: {answer.text}")


def rows(stand: Stand) -> Iterator[Row]:
    """Both figures of both sources; the first push of each fills caches and does not count."""
    folder = prepared(stand.folder / "told")
    forge = ForgeServer("github", "/api/v3")
    with closing(forge), _served(folder / "git") as url, farm(folder) as ready:
        tour = demo.Tour(ready)
        (folder / "token").write_text(forge.token)
        access = ("--scm-token-file", folder / "token", "--scm-api-url", f"{forge.url}/api/v3")
        told = _source(tour, folder, url, "told", *access)
        untold = _source(tour, folder, url, "untold")
        for run in range(RUNS + 1):
            for source in (told, untold) if run % 2 else (untold, told):
                version = commit_version(source.clone, run)
                push = partial(source.push, version)
                figures, build_id = push_figures(tour, source.name, source.project, version, push)
                rested = time.monotonic() + REST_S
                if source is told:
                    _demand_told(tour, forge, build_id, rested)
                time.sleep(max(0.0, rested - time.monotonic()))
                for name in FIGURES if run else ():
                    source.samples[name].append(figures[name])
    for name in FIGURES:
        yield Row(
            name.replace("push", "push.told"), "s", told.samples[name], COMMAND.format("with a"),
            untold.samples[name], "a source that is not connected", COMMAND.format("without a"), GOAL,
        )  # fmt: skip


def _source(tour: demo.Tour, folder: Path, url: str, name: str, *access: str | Path) -> _Source:
    project = f"{PROJECT}-{name}"
    _, clone = repository(folder, f"acme/{name}", project)
    made = tour.json(
        "source", "add", name, f"{url}/acme/{name}.git", "--scm", "github", "--project", project, *access
    )
    secrets = HookSecrets(str(made["secret"]), None)
    return _Source(name, project, clone, str(made["hook_url"]), Sender(None, name, "github", secrets))


def _demand_told(tour: demo.Tour, forge: ForgeServer, build_id: str, deadline: float) -> None:
    """See that the SCM was told all of the build, in order.

    Raises:
        SystemExit: not by the deadline, or otherwise than the farm noted.
    """
    while True:
        build = tour.json("build", "show", build_id)
        noted = [one for one in build["answers"] if one["kind"] == "status"]  # type: ignore[attr-defined]
        if noted and {one["state"] for one in noted} == {"sent"}:
            break
        if time.monotonic() > deadline:
            raise SystemExit(f"the SCM was not told in time of {build_id}: {noted}")
        time.sleep(0.1)
    calls = [
        one for one in forge.of("repos/create-commit-status") if one.parameters["sha"] == build["commit"]
    ]
    said = {one.body["context"]: one.body["state"] for one in calls}
    if forge.wrong or len(calls) != len(noted) or set(said.values()) != {"success"}:
        raise SystemExit(f"the SCM was told {said} in {len(calls)} calls of {noted}; refused: {forge.wrong}")


@contextmanager
def _served(root: Path) -> Iterator[str]:
    """Where the repositories below a folder are served for as long as the block lasts."""
    with GitServer(root) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
