"""A whole push: git, webhook, queue, container, attestation, index; seconds of each step."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import partial
from pathlib import Path

import requests

from bench.farm.stand import RUNS, Stand
from bench.row import Row
from tests.tour import demo
from tests.tour.stage import farm, fetch_sdist, git, make_repositories

PROJECT, RELEASE = "MarkupSafe", "3.0.4"
RECIPE = '[targets]\ninterpreters = ["cp311"]\nnative = true\n[build]\nsdist = false\n'
COMMAND = "git push of a tag to a source of `buildfarm up` (bench/farm/pushes.py)"
GOALS = {"push.first_line": 1.0, "push.installable": 4.0, "push.last_line_to_installable": 0.7}


def rows(stand: Stand) -> Iterator[Row]:
    """Every figure of the same pushes; the first push fills caches and does not count."""
    folder = prepared(stand.folder / "pushes")
    with farm(folder) as ready:
        tour = demo.Tour(ready)
        bare, clone = repository(folder, "bench", PROJECT)
        tour.command("source", "add", "bench", f"file://{bare}", "--project", PROJECT)
        tour.command("source", "hook", "script", "bench", "--into", bare / "hooks")
        samples: dict[str, list[float]] = {}
        for run in range(RUNS + 1):
            version = commit_version(clone, run)
            push = partial(git, clone, "push", "--quiet", "origin", version)
            figures, _ = push_figures(tour, "bench", PROJECT, version, push)
            for name, seconds in figures.items() if run else ():
                samples.setdefault(name, []).append(seconds)
    for name, values in samples.items():
        yield Row(name, "s", values, COMMAND, [], goal=GOALS.get(name))


def prepared(folder: Path) -> Path:
    """A folder with what the tour's commands expect in it."""
    demo.FOLDER = folder
    for name in ("git", "work", "upstream", "home"):
        (folder / name).mkdir(parents=True)
    return folder


def repository(folder: Path, name: str, project: str) -> tuple[Path, Path]:
    """A bare repository and a clone of MarkupSafe that calls itself `project` and has a recipe."""
    upstream, _ = fetch_sdist(PROJECT, folder / "upstream", RELEASE)
    bare, clone = make_repositories(upstream, RELEASE, name, folder)
    _set_line(clone, "name", project)
    (clone / "buildfarm.toml").write_text(RECIPE)
    git(clone, "add", "buildfarm.toml")
    return bare, clone


def commit_version(clone: Path, run: int) -> str:
    """Each run makes and tags another release, so that nothing is answered from an earlier one."""
    version = f"{RELEASE}.post{run + 1}"
    _set_line(clone, "version", version)
    git(clone, "commit", "--quiet", "--all", "--message", version)
    git(clone, "tag", version)
    return version


def push_figures(
    tour: demo.Tour, source: str, project: str, version: str, push: Callable[[], object]
) -> tuple[dict[str, float], str]:
    """Push one tag; seconds of each step as the farm's own records have them, and the build's id."""
    ready = tour.ready
    pushed = time.time()
    push()
    returned = time.time()
    builds = tour.json("build", "list", "--source", source)["items"]
    page = f"{ready['url']}/dev/simple/{project.lower()}/"
    credentials = ("__token__", ready["admin_token"])
    accept = {"Accept": "application/vnd.pypi.simple.v1+json"}
    deadline = time.time() + 120
    while version not in requests.get(page, auth=credentials, headers=accept, timeout=10).text:
        if time.time() > deadline:
            raise SystemExit(
                f"bench: {version} was not published: {tour.command('build', 'show', builds[0]['id'])}"
            )
        time.sleep(0.05)
    installable = time.time()
    build = tour.json("build", "show", str(builds[0]["id"]))  # type: ignore[index]
    job = build["jobs"][0]  # type: ignore[index]
    attempt = tour.json("job", "show", job["id"])["attempts"][-1]  # type: ignore[index]
    phases = {phase["phase"]: phase for phase in attempt["phases"]}
    at = {name: datetime.fromisoformat(value).timestamp() for name, value in {
        "made": build["created_at"], "planned": job["created_at"], "claimed": attempt["started_at"],
        "done": attempt["finished_at"], "published": build["finished_at"],
    }.items()}  # fmt: skip
    segments = [json.loads(line) for line in tour.command("job", "logs", job["id"], "--json").splitlines()]
    times = [(one["phase"], at_ms / 1000) for one in segments for at_ms in one["times"]]
    figures = {
        "push.first_line": next(when for phase, when in times if phase == "deps") - pushed,
        "push.installable": installable - pushed,
        "push.last_line_to_installable": installable - max(when for phase, when in times if phase == "test"),
        "push.git": returned - pushed,
        "push.queued": at["made"] - pushed,
        "push.fetch_and_plan": at["planned"] - at["made"],
        "push.planned_to_claimed": at["claimed"] - at["planned"],
        "push.attempt": at["done"] - at["claimed"],
        **{f"push.phase.{name}": phase["seconds"] for name, phase in phases.items()},
        "push.attempt_to_published": at["published"] - at["done"],
        "push.published_to_page": installable - at["published"],
    }
    return figures, str(build["id"])


def _set_line(clone: Path, name: str, value: str) -> None:
    path = clone / "pyproject.toml"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text(
        "".join(f'{name} = "{value}"\n' if line.startswith(f"{name} = ") else line for line in lines)
    )
    if value not in path.read_text():
        raise SystemExit(f"there is no line {name} in {path.name}")
